"""The programs that ship with thalweg: the command line and the GPT training job."""
