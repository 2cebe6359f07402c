"""Install the systems that the benchmarks measure beside ours, into an environment of their own.

    python benchmarks/peers.py [--peers DIR]

Takes some minutes and about 3 GB. Nothing is installed into the project's own environment; ours runs there too, from
this source tree. A package that cannot be installed is named, and the benchmarks go without it. Running the command
again installs what is missing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path("~/.cache/asr_tutorial/peers").expanduser()

TORCH = ["torch==2.13.0"]
"""First, and exact: a peer that found another torch acceptable would bring it in, gigabytes of GPU libraries too."""
RECIPE: list[tuple[str, list[str]]] = [
    ("transformers", ["transformers==5.24.0"]),
    ("lhotse", ["lhotse==1.33.0"]),
    ("kaldi-native-fbank", ["kaldi-native-fbank==1.23.0"]),
    ("flashlight-text", ["flashlight-text==0.0.7"]),
    ("fast-ctc-decode", ["fast-ctc-decode==0.3.7"]),
    # These ask for versions of torch or numpy that they do not need; what they do need follows by name.
    ("torchaudio", ["--no-deps", "torchaudio==2.11.0"]),
    ("speechbrain", ["--no-deps", "speechbrain==1.1.2"]),
    ("for speechbrain", ["hyperpyyaml", "scipy", "tqdm", "huggingface_hub", "joblib", "sentencepiece", "requests"]),
    ("espnet", ["--no-deps", "espnet==202511"]),
    ("for espnet", ["typeguard", "humanfriendly", "torch_complex", "kaldiio", "h5py", "librosa"]),
    ("pyctcdecode", ["--no-deps", "pyctcdecode==0.5.0"]),
    ("for pyctcdecode", ["pygtrie"]),
]


def install(python: Path, packages: list[str]) -> bool:
    """Whether pip could install the packages."""
    # What pip says on the way is about versions that a peer asks for and does not need.
    call = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(call, check=False, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode == 0


def remove_kernels(folder: Path) -> None:
    """Delete torchaudio's compiled parts, built for another torch: without them it falls back on Python."""
    for library in folder.glob("lib/python*/site-packages/torchaudio/lib/*.so"):
        library.unlink()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder of the environment (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="remove the environment first")
    options = parser.parse_args(arguments)
    folder = options.peers.expanduser()
    if options.fresh and (folder / "pyvenv.cfg").exists():
        shutil.rmtree(folder)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)

    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    if not install(python, TORCH) or not install(python, [*ours, *TORCH]):
        sys.exit(f"the packages that our own library needs could not be installed into {folder}")
    failed = [name for name, packages in RECIPE if not install(python, packages)]
    remove_kernels(folder)
    print(f"peers in {folder}" + (f"; could not install: {', '.join(failed)}" if failed else ""))


if __name__ == "__main__":
    main()
