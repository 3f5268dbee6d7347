"""`kdscope push` against a local stub of the hub: private by default, token unseen, only when asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_stub import running_hub

TOKEN = "hf_secretsecret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "adapter"
    (out / ".eval_results").mkdir(parents=True)
    (out / "README.md").write_text("---\nlibrary_name: peft\n---\n# x\n")
    (out / "adapter_config.json").write_text("{}")
    (out / "adapter_model.safetensors").write_bytes(b"weights")
    (out / ".eval_results" / "kdscope.yaml").write_text("- value: 0.5\n")
    return out


def sight(asked: dict) -> str:
    """The visibility that a request asks for; older clients send a flag."""
    return asked.get("visibility") or ("private" if asked["private"] else "public")


def push(*arguments: object, hub: str, home: Path, **environment: str):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {"HF_ENDPOINT": hub, "HF_TOKEN": TOKEN, "HF_HOME": str(home), **environment}
    words = [sys.executable, "-m", "kdscope", "push", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, env=env, timeout=120, check=False)


def test_push_is_private_and_sends_every_file(folder: Path, tmp_path: Path) -> None:
    with running_hub() as hub:
        done = push(folder, "me/x", "--json", hub=hub.address, home=tmp_path / "home")
        assert done.returncode == 0, done.stderr
        assert sight(hub.created[0]) == "private"
        assert hub.created[0].get("type", "model") == "model"
        sent = {
            p.relative_to(folder).as_posix(): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file()
        }
        assert hub.files == sent
        assert hub.tokens - {""} == {f"Bearer {TOKEN}"}
        assert json.loads(done.stdout)["private"] is True
    assert TOKEN not in done.stdout + done.stderr


def test_public_only_when_asked(folder: Path, tmp_path: Path) -> None:
    with running_hub() as hub:
        done = push(folder, "me/x", "--public", hub=hub.address, home=tmp_path / "home")
        assert done.returncode == 0, done.stderr
        assert sight(hub.created[0]) == "public"


def test_a_dry_run_and_offline_send_nothing(folder: Path, tmp_path: Path) -> None:
    with running_hub() as hub:
        dry = push(folder, "me/x", "--dry-run", hub=hub.address, home=tmp_path / "home")
        assert (dry.returncode, len(dry.stdout.split())) == (0, 4)
        off = push(folder, "me/x", hub=hub.address, home=tmp_path / "home", HF_HUB_OFFLINE="1")
        assert off.returncode == 2
        assert "nothing may be sent" in off.stderr
        assert hub.paths == []


def test_a_refusal_is_told_without_the_token(folder: Path, tmp_path: Path) -> None:
    with running_hub(refuse=True) as hub:
        done = push(folder, "me/x", hub=hub.address, home=tmp_path / "home")
    assert done.returncode == 1
    assert "did not take me/x" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_other_folders_are_refused(tmp_path: Path) -> None:
    done = push(tmp_path, "me/x", hub="http://127.0.0.1:9", home=tmp_path / "home")
    assert done.returncode == 2
    assert "no README.md" in done.stderr
