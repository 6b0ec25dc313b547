# Sourced by the other scripts: makes .venv with the extras they need, once.
# Use: prepare EXTRA. Afterwards $root, $venv and $venv/bin/python are ready.
# PYTHON chooses the interpreter; pip's own settings (PIP_INDEX_URL, ...) apply.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"

fail() {
  printf '%s: error: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

is_recent() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Prints the interpreter to build the environment with.
find_python() {
  local candidate found
  if [[ -n "${PYTHON:-}" ]]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON is set to '$PYTHON', which cannot be run"
    if ! is_recent "$PYTHON"; then
      found="$("$PYTHON" -V 2>&1 || true)"
      fail "thalweg needs Python 3.11 or newer; PYTHON is '$PYTHON' (${found:-not a Python})"
    fi
    command -v "$PYTHON"
    return
  fi
  for candidate in python3 python3.11 python3.12 python3.13 python3.14 python; do
    if command -v "$candidate" >/dev/null && is_recent "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  found="$(python3 -V 2>&1 || true)"
  fail "thalweg needs Python 3.11 or newer, found ${found:-none}; set PYTHON to its path"
}

make_venv() {
  local python="$1"
  echo "making $venv with $("$python" -V)" >&2
  rm -rf "$venv"
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
  else
    # Some distributions split ensurepip off; the pip that is there can install another.
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --python "$venv/bin/python" install --quiet pip ||
      fail "cannot install pip into $venv; your system may call the missing part python3-venv"
  fi
}

prepare() {
  local extra="$1" python stamp wanted
  # Two scripts started together must not install into the same folder at once.
  exec 9>"$root/.venv.lock"
  if command -v flock >/dev/null; then
    flock 9
  fi
  if ! { is_recent "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    python="$(find_python)"
    make_venv "$python"
  fi
  stamp="$venv/.installed-$extra"
  wanted="$("$venv/bin/python" - "$root" <<'PYTHON'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
print(hashlib.sha256((root / "pyproject.toml").read_bytes()).hexdigest(), sys.version.split()[0], root)
PYTHON
)"
  if [[ ! -f "$stamp" || "$(<"$stamp")" != "$wanted" ]]; then
    echo "installing thalweg[$extra] into $venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "${root}[$extra]" ||
      fail "installation failed; the lines above say why"
    printf '%s' "$wanted" >"$stamp"
  fi
  exec 9>&-
}
