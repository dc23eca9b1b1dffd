"""Keys: made once, private, the same for processes that start at once; bad ones are named."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from activities.crypto.keyring import Keyring, codec_token_file, load_codec_token, load_keyring
from activities.crypto.secretbox import SecretBox
from models.errors import ConnectorError, ErrorType
from models.settings import Settings


def load(data_dir: Path, **settings: Any) -> Keyring:
    return load_keyring(Settings(data_dir=data_dir, **settings))


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    old = os.umask(0)
    try:
        made = load(folder)
    finally:
        os.umask(old)
    assert stat.S_IMODE((folder / "keys.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [file.name for file in folder.iterdir()] == ["keys.json"]
    again = load(folder)
    assert vars(again) == vars(made)
    assert [len(key) for key in made.content.values()] == [32]
    assert made.payloads is not None
    assert [len(key) for key in made.payloads.values()] == [32]


def test_each_folder_has_its_own(tmp_path: Path) -> None:
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    assert first.secrets != second.secrets
    assert first.payloads != second.payloads
    assert first.content != second.content


def _start(folder: Path, gate: Any, found: Any) -> None:
    gate.wait()
    keys = load(folder)
    found.put((keys.secrets, tuple(keys.content.items()), tuple((keys.payloads or {}).items())))


def test_processes_that_start_at_once_get_the_same_keys(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for round_ in range(5):
        folder = tmp_path / str(round_)
        gate, found = context.Barrier(4), context.Queue()
        processes = [context.Process(target=_start, args=(folder, gate, found)) for _ in range(4)]
        for process in processes:
            process.start()
        keys = {found.get(timeout=20) for _ in processes}
        for process in processes:
            process.join()
        assert len(keys) == 1
        assert [file.name for file in folder.iterdir()] == ["keys.json"]


def test_settings_go_before_the_file(tmp_path: Path) -> None:
    fernets = [Fernet.generate_key().decode() for _ in range(2)]
    new, old = os.urandom(32), os.urandom(32)
    listed = f"new:{base64.b64encode(new).decode()}, old:{base64.b64encode(old).decode()}"
    keys = load(
        tmp_path,
        encryption_keys=SecretStr(", ".join(fernets)),
        payload_keys=SecretStr(listed),
        content_keys=SecretStr(listed),
    )
    assert list(keys.content.items()) == [("new", new), ("old", old)]
    assert keys.secrets == tuple(fernets)
    assert list((keys.payloads or {}).items()) == [("new", new), ("old", old)]


def test_a_file_of_the_first_versions_is_read(tmp_path: Path) -> None:
    made = load(tmp_path)
    file = tmp_path / "keys.json"
    stored = json.loads(file.read_text())
    stored["content"] = stored["content"].removeprefix("k1:")
    file.write_text(json.dumps(stored))
    assert load(tmp_path).content == made.content


def test_the_codec_token_is_made_once_and_private(tmp_path: Path) -> None:
    described = Settings(data_dir=tmp_path / "data")
    made = load_codec_token(described).get_secret_value()
    assert len(made) >= 32
    assert load_codec_token(described).get_secret_value() == made
    assert stat.S_IMODE(codec_token_file(described).stat().st_mode) == 0o600
    chosen = SecretStr("c" * 32)
    assert load_codec_token(Settings(data_dir=tmp_path, codec_token=chosen)) == chosen


def test_without_payload_encryption(tmp_path: Path) -> None:
    assert load(tmp_path, payload_encryption="off").payloads is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encryption_keys", "nonsense-canary"),
        ("encryption_keys", base64.b64encode(b"too short, a canary").decode()),
        ("payload_keys", "nonsense-canary"),
        ("payload_keys", "id:canary!"),
        ("payload_keys", f"id:{base64.b64encode(b'canary').decode()}"),
        ("payload_keys", f":{base64.b64encode(bytes(32)).decode()}"),
        ("content_keys", "nonsense-canary"),
        ("content_keys", base64.b64encode(bytes(32)).decode()),
        ("content_keys", ", ,"),
    ],
)
def test_bad_keys_are_named_and_not_shown(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConnectorError) as caught:
        load(tmp_path, **{name: SecretStr(value)})
    assert caught.value.type is ErrorType.INVALID_INPUT
    assert caught.value.field == f"EMAIL_CONNECTOR_{name.upper()}"
    assert value not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_repr_shows_nothing(tmp_path: Path) -> None:
    keys = load(tmp_path)
    shown = repr(keys) + str(keys)
    for secret in json.loads((tmp_path / "keys.json").read_text()).values():
        assert secret.rpartition(":")[2] not in shown


class TestSecretBox:
    def test_the_newest_key_seals_and_every_key_opens(self) -> None:
        old, new = (Fernet.generate_key().decode() for _ in range(2))
        sealed = SecretBox([old]).seal(SecretStr("pass wörd"))
        box = SecretBox([new, old])
        assert box.open(sealed).get_secret_value() == "pass wörd"
        assert SecretBox([new]).open(box.seal(SecretStr("x"))).get_secret_value() == "x"
        assert b"pass" not in sealed

    @pytest.mark.parametrize("damage", [b"", b"nonsense", None])
    def test_what_no_key_fits_is_typed(self, damage: bytes | None) -> None:
        box = SecretBox([Fernet.generate_key().decode()])
        sealed = SecretBox([Fernet.generate_key().decode()]).seal(SecretStr("canary"))
        with pytest.raises(ConnectorError) as caught:
            box.open(sealed if damage is None else damage)
        assert caught.value.type is ErrorType.SECRET_UNREADABLE
        assert not caught.value.temporary

    def test_every_flipped_bit_is_noticed(self) -> None:
        box = SecretBox([Fernet.generate_key().decode()])
        sealed = bytearray(base64.urlsafe_b64decode(box.seal(SecretStr("secret"))))
        for position in range(len(sealed) * 8):
            sealed[position // 8] ^= 1 << position % 8
            with pytest.raises(ConnectorError):
                box.open(base64.urlsafe_b64encode(bytes(sealed)))
            sealed[position // 8] ^= 1 << position % 8
