"""Models of Hugging Face transformers, each from its configuration class, made small."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..catalogue import Case, entry, integers, normal, uniform

_TEXT = "language model"
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "intermediate_size": 64, "vocab_size": 99, "max_position_embeddings": 64}  # fmt: skip
_DROPLESS = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def ids() -> Any:
    """Two sequences of eleven tokens."""
    return integers(98, 2, 11) + 1


def _causal() -> dict[str, Any]:
    return {"input_ids": ids(), "labels": ids()}


def _masked() -> dict[str, Any]:
    mask = np.ones((2, 11), np.int64)
    mask[1, 7:] = 0
    return {"input_ids": ids(), "attention_mask": mask, "labels": ids()}


def _seq2seq() -> dict[str, Any]:
    return {"input_ids": ids(), "labels": integers(98, 2, 7, seed=2) + 1}


def _pixels(size: int = 32, **more: Any) -> Any:
    return lambda: {"pixel_values": normal(2, 3, size, size), **more}


# name -> module, class of the model, class of the configuration, its arguments, inputs, kind
MODELS: dict[str, tuple[str, str, str, dict[str, Any], Any, str]] = {
    "BERT": ("bert", "BertForMaskedLM", "BertConfig", {**_SMALL, **_DROPLESS}, _masked, _TEXT),
    "RoBERTa": ("roberta", "RobertaForMaskedLM", "RobertaConfig", {**_SMALL, **_DROPLESS}, _masked,
                _TEXT),
    "ALBERT": ("albert", "AlbertForMaskedLM", "AlbertConfig",
               {**_SMALL, **_DROPLESS, "embedding_size": 16}, _masked, _TEXT),
    "DistilBERT": ("distilbert", "DistilBertForMaskedLM", "DistilBertConfig",
                   {"vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64},
                   _masked, _TEXT),
    "ELECTRA": ("electra", "ElectraForPreTraining", "ElectraConfig",
                {**_SMALL, **_DROPLESS, "embedding_size": 16},
                lambda: {"input_ids": ids(), "labels": integers(2, 2, 11)}, _TEXT),
    "DeBERTa v2": ("deberta_v2", "DebertaV2ForMaskedLM", "DebertaV2Config",
                   {**_SMALL, **_DROPLESS, "relative_attention": True, "pos_att_type":
                    ["p2c", "c2p"], "position_buckets": 8}, _masked, _TEXT),
    "MPNet": ("mpnet", "MPNetForMaskedLM", "MPNetConfig", {**_SMALL, **_DROPLESS}, _masked, _TEXT),
    "ModernBERT": ("modernbert", "ModernBertForMaskedLM", "ModernBertConfig",
                   {**_SMALL, "pad_token_id": 0, "attn_implementation": "sdpa",
                    "local_attention": 4, "global_attn_every_n_layers": 2}, _masked, _TEXT),
    "FNet": ("fnet", "FNetForMaskedLM", "FNetConfig", {**_SMALL, "hidden_dropout_prob": 0.0},
             lambda: {"input_ids": ids(), "labels": ids()}, _TEXT),
    "GPT-2": ("gpt2", "GPT2LMHeadModel", "GPT2Config",
              {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32},
              _causal, _TEXT),
    "GPT-Neo": ("gpt_neo", "GPTNeoForCausalLM", "GPTNeoConfig",
                {"vocab_size": 99, "hidden_size": 32, "num_layers": 2, "num_heads": 4,
                 "attention_types": [[["global", "local"], 1]], "window_size": 4}, _causal, _TEXT),
    "GPT-J": ("gptj", "GPTJForCausalLM", "GPTJConfig",
              {"vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4,
               "n_positions": 32}, _causal, _TEXT),
    "GPT-NeoX": ("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", _SMALL, _causal, _TEXT),
    "OPT": ("opt", "OPTForCausalLM", "OPTConfig",
            {**_SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32}, _causal, _TEXT),
    "BLOOM": ("bloom", "BloomForCausalLM", "BloomConfig",
              {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}, _causal, _TEXT),
    "LLaMA": ("llama", "LlamaForCausalLM", "LlamaConfig", {**_SMALL, "num_key_value_heads": 2},
              _causal, _TEXT),
    "Mistral": ("mistral", "MistralForCausalLM", "MistralConfig",
                {**_SMALL, "num_key_value_heads": 2, "sliding_window": 4}, _causal, _TEXT),
    "Mixtral": ("mixtral", "MixtralForCausalLM", "MixtralConfig",
                {**_SMALL, "num_key_value_heads": 2, "num_local_experts": 4}, _causal,
                "mixture of experts"),
    "Qwen2": ("qwen2", "Qwen2ForCausalLM", "Qwen2Config", {**_SMALL, "num_key_value_heads": 2},
              _causal, _TEXT),
    "Qwen3": ("qwen3", "Qwen3ForCausalLM", "Qwen3Config",
              {**_SMALL, "num_key_value_heads": 2, "head_dim": 8}, _causal, _TEXT),
    "Gemma": ("gemma", "GemmaForCausalLM", "GemmaConfig",
              {**_SMALL, "num_key_value_heads": 1, "head_dim": 8}, _causal, _TEXT),
    "Gemma 2": ("gemma2", "Gemma2ForCausalLM", "Gemma2Config",
                {**_SMALL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}, _causal,
                _TEXT),
    "Phi": ("phi", "PhiForCausalLM", "PhiConfig", _SMALL, _causal, _TEXT),
    "Falcon": ("falcon", "FalconForCausalLM", "FalconConfig",
               {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 4}, _causal, _TEXT),
    "StableLM": ("stablelm", "StableLmForCausalLM", "StableLmConfig",
                 {**_SMALL, "num_key_value_heads": 2}, _causal, _TEXT),
    "Mamba": ("mamba", "MambaForCausalLM", "MambaConfig",
              {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4,
               "use_mambapy": False}, _causal, "state-space language model"),
    "RWKV": ("rwkv", "RwkvForCausalLM", "RwkvConfig",
             {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 16},
             _causal, "recurrent language model"),
    "T5": ("t5", "T5ForConditionalGeneration", "T5Config",
           {"vocab_size": 99, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2,
            "num_heads": 4, "dropout_rate": 0.0, "decoder_start_token_id": 0}, _seq2seq,
           "sequence to sequence"),
    "BART": ("bart", "BartForConditionalGeneration", "BartConfig",
             {"vocab_size": 99, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2,
              "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
              "decoder_ffn_dim": 64, "max_position_embeddings": 32, "dropout": 0.0}, _seq2seq,
             "sequence to sequence"),
    "Marian": ("marian", "MarianMTModel", "MarianConfig",
               {"vocab_size": 99, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
                "decoder_ffn_dim": 64, "max_position_embeddings": 32, "pad_token_id": 0,
                "decoder_start_token_id": 0, "dropout": 0.0}, _seq2seq, "sequence to sequence"),
    "ViT": ("vit", "ViTForImageClassification", "ViTConfig",
            {**_SMALL, **_DROPLESS, "image_size": 32, "patch_size": 8}, _pixels(),
            "vision transformer"),
    "Swin": ("swin", "SwinForImageClassification", "SwinConfig",
             {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [1, 1],
              "num_heads": [2, 2], "window_size": 4, "drop_path_rate": 0.0}, _pixels(),
             "vision transformer"),
    "SegFormer": ("segformer", "SegformerForSemanticSegmentation", "SegformerConfig",
                  {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 16, 32],
                   "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 16,
                   "drop_path_rate": 0.0, "classifier_dropout_prob": 0.0},
                  _pixels(64, labels=integers(2, 2, 64, 64)), "segmentation"),
    "ResNet": ("resnet", "ResNetForImageClassification", "ResNetConfig",
               {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]}, _pixels(),
               "convolutional classifier"),
    "CLIP": ("clip", "CLIPModel", "CLIPConfig",
             {"text_config": {**_SMALL, "max_position_embeddings": 16}, "vision_config":
              {**_SMALL, "image_size": 32, "patch_size": 8}, "projection_dim": 16},
             lambda: {"input_ids": ids(), "pixel_values": normal(2, 3, 32, 32),
                      "return_loss": True}, "image and text"),
    "DETR": ("detr", "DetrModel", "DetrConfig",
             {"use_timm_backbone": False, "backbone_config": None, "d_model": 16,
              "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
              "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
              "num_queries": 5, "dropout": 0.0}, _pixels(64), "detection"),
    "Wav2Vec2": ("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Config",
                 {**_SMALL, "conv_dim": [16, 16], "conv_stride": [4, 4], "conv_kernel": [8, 4],
                  "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8,
                  "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0, "layerdrop": 0.0},
                 lambda: {"input_values": normal(2, 800), "labels": integers(90, 2, 5) + 1},
                 "audio"),
    "HuBERT": ("hubert", "HubertModel", "HubertConfig",
               {**_SMALL, "conv_dim": [16, 16], "conv_stride": [4, 4], "conv_kernel": [8, 4],
                "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 8,
                "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0, "layerdrop": 0.0},
               lambda: {"input_values": normal(2, 800)}, "audio"),
    "Whisper": ("whisper", "WhisperForConditionalGeneration", "WhisperConfig",
                {"vocab_size": 99, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
                 "encoder_attention_heads": 4, "decoder_attention_heads": 4,
                 "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 8,
                 "max_source_positions": 20, "max_target_positions": 16, "pad_token_id": 0,
                 "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3,
                 "suppress_tokens": None, "begin_suppress_tokens": None},
                lambda: {"input_features": normal(2, 8, 40), "labels": integers(90, 2, 6) + 1},
                "audio"),
    "Audio Spectrogram Transformer": (
        "audio_spectrogram_transformer", "ASTForAudioClassification", "ASTConfig",
        {**_SMALL, **_DROPLESS, "max_length": 32, "num_mel_bins": 16, "patch_size": 8,
         "frequency_stride": 8, "time_stride": 8},
        lambda: {"input_values": normal(2, 32, 16)}, "audio"),
    "Time Series Transformer": (
        "patchtst", "PatchTSTForPrediction", "PatchTSTConfig",
        {"num_input_channels": 3, "context_length": 32, "patch_length": 8, "patch_stride": 8,
         "prediction_length": 4, "d_model": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "ffn_dim": 32, "loss": "mse"},
        lambda: {"past_values": normal(2, 32, 3), "future_values": uniform(2, 4, 3)},
        "time series"),
    "VideoMAE": ("videomae", "VideoMAEForVideoClassification", "VideoMAEConfig",
                 {**_SMALL, **_DROPLESS, "image_size": 16, "patch_size": 8, "num_frames": 4},
                 lambda: {"pixel_values": normal(2, 4, 3, 16, 16)}, "video"),
    "LayoutLM": ("layoutlm", "LayoutLMForMaskedLM", "LayoutLMConfig",
                 {**_SMALL, **_DROPLESS, "max_2d_position_embeddings": 32},
                 lambda: {**_masked(), "bbox": np.sort(integers(31, 2, 11, 4), -1)},
                 "document model"),
    "Longformer": ("longformer", "LongformerForMaskedLM", "LongformerConfig",
                   {**_SMALL, **_DROPLESS, "attention_window": [4, 4]}, _masked, _TEXT),
    "Reformer": ("xlnet", "XLNetLMHeadModel", "XLNetConfig",
                 {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64,
                  "dropout": 0.0}, _causal, _TEXT),
}  # fmt: skip
MODELS["XLNet"] = MODELS.pop("Reformer")
MODELS["PatchTST"] = MODELS.pop("Time Series Transformer")


def _register(name: str, row: tuple[str, str, str, dict[str, Any], Any, str]) -> None:
    folder, model_class, config_class, options, inputs, kind = row

    @entry(f"transformers/{name}", kind, "transformers")
    def build() -> Case:
        place = f"transformers.models.{folder}"
        model_module = importlib.import_module(f"{place}.modeling_{folder}")
        config_module = importlib.import_module(f"{place}.configuration_{folder}")
        given = dict(options)
        if name == "DETR":
            resnet = importlib.import_module("transformers.models.resnet.configuration_resnet")
            given["backbone_config"] = resnet.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1],
                out_features=["stage4"],
            )  # fmt: skip
        model = getattr(model_module, model_class)(getattr(config_module, config_class)(**given))
        keywords = inputs()

        def loss(result: Any) -> Any:
            from ..child import default_loss

            found = getattr(result, "loss", None)
            return default_loss(result) if found is None else found

        return Case(model, keywords=keywords, loss=loss, optimizer="AdamW")


for _name, _row in MODELS.items():
    _register(_name, _row)
