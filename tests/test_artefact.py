"""Laws of the folder between training and serving: whole or not there, verified or refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load as from_safetensors

from monitor.errors import ArtefactError, MonitorError
from monitor.model import artefact, export
from monitor.model.manifest import Blocks, FittedTail, Manifest
from monitor.model.scorer import Scorer
from monitor.model.training import Trained
from tests.models import FEATURES, tiny_artefact, tiny_trained


@pytest.fixture(scope="module")
def trained() -> Trained:
    return tiny_trained(epochs=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_artefact(tmp_path / "model")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder: Path, expected: tuple[str, ...] | None = None) -> str:
    with pytest.raises(ArtefactError) as caught:
        artefact.load(folder, expected)
    return str(caught.value).replace(str(folder), "DIR")


def test_what_is_written_is_what_is_loaded(trained: Trained, tmp_path: Path) -> None:
    manifest = export.save(trained, tmp_path / "deep" / "model")
    loaded = artefact.load(tmp_path / "deep" / "model", FEATURES)
    assert loaded.manifest == manifest
    assert loaded.manifest.digest == manifest.digest
    assert sorted(path.name for path in loaded.folder.iterdir()) == [
        "manifest.json",
        "model.onnx",
        "weights.safetensors",
    ]
    assert [path.name for path in loaded.folder.parent.iterdir()] == ["model"]
    weights = from_safetensors(loaded.weights)
    for name, tensor in trained.scorer.model.state_dict().items():
        assert np.array_equal(weights[name], tensor.numpy())


def test_optional_parts_of_the_calibration_change_no_digest_of_an_artefact_without_them(folder: Path) -> None:
    """The bytes of before they existed: each part is absent, not null, and the digest is that of the file as it was."""
    content = (folder / "manifest.json").read_bytes()
    manifest = artefact.load(folder).manifest
    assert manifest.to_json().encode() == content
    card = manifest.calibration
    required = {name for name, field in type(card).model_fields.items() if field.is_required()}
    old = json.loads(content)
    old["calibration"] = {name: value for name, value in old["calibration"].items() if name in required}
    (folder / "manifest.json").write_text(json.dumps(old, indent=2, sort_keys=True) + "\n")
    loaded = artefact.load(folder).manifest
    assert loaded.digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    tail = FittedTail(level=0.5, shape=0.1, scale=0.2, peaks=50, rate=100.0)
    blocks = Blocks(windows=16, largest=(0.25, 0.5))
    more = manifest.model_copy(update={"calibration": card.model_copy(update={"tail": tail, "blocks": blocks})})
    assert Manifest.model_validate_json(more.to_json(), strict=True) == more
    assert more.digest != manifest.digest


def test_a_meaning_that_is_not_known_changes_no_digest_and_one_that_is_comes_back(folder: Path) -> None:
    manifest = artefact.load(folder).manifest
    assert '"meaning"' not in manifest.to_json()
    named = manifest.features[0].model_copy(update={"meaning": "packets sent a second"})
    more = manifest.model_copy(update={"features": (named, *manifest.features[1:])})
    assert Manifest.model_validate_json(more.to_json(), strict=True) == more
    assert more.digest != manifest.digest


def test_same_training_same_bytes(trained: Trained, tmp_path: Path) -> None:
    export.save(trained, tmp_path / "one")
    export.save(tiny_trained(epochs=2), tmp_path / "two")
    for name in ("manifest.json", "model.onnx", "weights.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nothing_in_it_is_a_pickle(folder: Path) -> None:
    """Neither a bare one (it begins with its protocol) nor torch's, which is a zip."""
    for path in folder.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK"))


def test_the_graph_is_valid_onnx_with_a_free_number_of_windows(folder: Path) -> None:
    model = onnx.load_from_string((folder / "model.onnx").read_bytes())
    onnx.checker.check_model(model, full_check=True)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["windows"] == ["W", 8, 3]
    assert set(shapes) == {"windows", "error", "feature_error", "expected", "code"}
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == (
        "there is no model folder DIR\n"
        "  Train one with `monitor train`, or set model.path to the folder that holds manifest.json."
    )
    (tmp_path / "file").write_text("")
    assert refusal(tmp_path / "file").startswith("there is no model folder DIR")


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "weights.safetensors"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder) == (
        f"the model folder DIR has no {name}\n  Copy the whole folder, or train the model again."
    )


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
def test_one_changed_bit_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert refusal(folder) == (
        f"DIR/{name} is not the file that manifest.json was written with (SHA-256 differs)\n"
        "  Copy the whole folder again, or train anew; its files cannot be mixed or edited."
    )


AGAIN = "\n  Train the model again, or restore the folder from where it was copied."


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"model: 1", b"[" * 100_000])
def test_a_manifest_that_is_not_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    message = refusal(folder)
    assert message.startswith("DIR/manifest.json is not JSON: ")
    assert message.endswith(AGAIN)


def test_an_unknown_format_version_is_refused(folder: Path) -> None:
    edit(folder, format_version=3, invented_later=True)
    assert refusal(folder) == (
        "DIR/manifest.json has format_version 3; this program reads 2\n"
        "  Use the version of monitor that trained the model, or train it again with this one."
    )


def test_wrong_fields_are_refused_by_name(folder: Path) -> None:
    edit(folder, metrics="none", colour="red")
    assert refusal(folder) == (
        "DIR/manifest.json is not a model's manifest: metrics: Input should be an object, "
        "colour: Extra inputs are not permitted" + AGAIN
    )
    (folder / "manifest.json").write_text("[]")
    assert refusal(folder).startswith("DIR/manifest.json is not a model's manifest: it: Input should be")


def test_a_manifest_must_name_both_files_and_no_other(folder: Path) -> None:
    edit(folder, files={"../../etc/passwd": "0"})
    assert refusal(folder) == (
        "DIR/manifest.json must name the files model.onnx, weights.safetensors, not ../../etc/passwd" + AGAIN
    )


def deep_edit(folder: Path, section: str, name: str, value: object) -> None:
    path = folder / "manifest.json"
    tree = json.loads(path.read_text())
    (tree["features"][0] if section == "features" else tree[section])[name] = value
    path.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("features", "mean", float("nan")),  # a missing value would be imputed as NaN, which is never anomalous
        ("features", "scale", "1.5"),
        ("calibration", "quantile", True),
        ("training", "source", "\ud800"),  # it has no bytes, so no digest
    ],
)
def test_a_value_that_is_not_what_it_says_is_refused(folder: Path, section: str, name: str, value: object) -> None:
    deep_edit(folder, section, name, value)
    assert refusal(folder).startswith("DIR/manifest.json is not a model's manifest: ")


def test_two_features_of_one_name_are_refused(folder: Path) -> None:
    deep_edit(folder, "features", "name", "b")
    assert refusal(folder) == "DIR/manifest.json has two features of one name" + AGAIN


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "weights.safetensors"])
def test_a_file_that_has_no_end_is_not_read(folder: Path, name: str) -> None:
    path = folder / name
    with path.open("ab") as file:
        file.truncate(2**32)  # it takes no room
    assert refusal(folder).startswith(f"DIR/{name} is too large (4294967296 bytes)")
    path.unlink()
    os.mkfifo(path)
    assert refusal(folder).startswith(f"DIR/{name} is not a regular file")


def test_a_manifest_must_describe_every_feature(folder: Path) -> None:
    edit(folder, features=[])
    assert refusal(folder) == "DIR/manifest.json describes features of 0 channels for a network of 3" + AGAIN


@pytest.mark.parametrize(
    ("expected", "fault"),
    [
        (("a", "b", "c", "d"), "it was not trained with d"),
        (("a", "b"), "it needs c as well"),
        (("a", "x", "c"), "it was not trained with x; it needs b as well"),
        (("a", "c", "b"), "the order differs from place 2 on, where the model has b and events.features c"),
    ],
)
def test_features_that_differ_from_the_configuration_are_refused(
    folder: Path, expected: tuple[str, ...], fault: str
) -> None:
    artefact.load(folder, FEATURES)
    assert refusal(folder, expected) == (
        f"the model in DIR does not fit events.features: {fault}\n"
        "  Set events.features to the model's, or remove the setting; or train a model with these features."
    )


def test_an_artefact_is_replaced_whole(trained: Trained, folder: Path) -> None:
    before = artefact.load(folder).manifest.digest
    manifest = export.save(trained, folder)
    assert artefact.load(folder).manifest.digest == manifest.digest != before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


WATCH = """
import os, sys
print("watching", flush=True)
seen = missing = 0
while os.path.exists(sys.argv[2]):
    seen += 1
    missing += not os.path.isdir(sys.argv[1])
print(seen, missing)
"""


def test_the_place_of_an_artefact_is_never_empty_while_it_is_replaced(folder: Path) -> None:
    (other := folder.with_name("other")).mkdir()
    if not artefact._exchange(folder, other):
        pytest.skip("no exchange of two folders on this system or this file system")
    assert artefact._exchange(folder, other)
    (running := folder.with_name("running")).touch()
    loaded = artefact.load(folder)
    files = {"model.onnx": loaded.graph, "weights.safetensors": loaded.weights}
    command = [sys.executable, "-c", WATCH, str(folder), str(running)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout
        assert watcher.stdout.readline() == "watching\n"
        try:
            for _ in range(50):
                artefact.write(folder, loaded.manifest, files)
        finally:
            running.unlink()
        seen, missing = map(int, watcher.stdout.read().split())
    assert seen > 50
    assert missing == 0
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, "other"]


def test_an_artefact_is_replaced_where_folders_cannot_be_exchanged(
    trained: Trained, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artefact, "_exchange", lambda *_: False)
    manifest = export.save(trained, folder)
    assert artefact.load(folder).manifest.digest == manifest.digest
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_empty_folder_is_filled_and_a_link_is_followed(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    export.save(trained, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    artefact.load(tmp_path / "real")


def test_a_folder_that_holds_anything_else_is_left_alone(trained: Trained, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    before = artefact.load(folder).manifest.digest
    with pytest.raises(ArtefactError) as caught:
        export.save(trained, folder)
    assert str(caught.value) == (
        f"{folder} holds files that are not a model's: notes.txt\n"
        "  Nothing was overwritten. Choose another folder, or move those files away."
    )
    assert artefact.load(folder).manifest.digest == before
    with pytest.raises(ArtefactError, match="is a file"):
        export.save(trained, folder / "notes.txt")


def test_a_write_that_fails_leaves_the_old_model_and_nothing_beside_it(
    trained: Trained, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = artefact.load(folder).manifest.digest
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(artefact, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ArtefactError, match=r"cannot write the model folder .*: No space left on device"):
        export.save(trained, folder)
    assert artefact.load(folder).manifest.digest == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_graph_that_differs_from_torch_is_not_written(trained: Trained, tmp_path: Path) -> None:
    other = tiny_trained(epochs=1)
    graph = export.to_onnx(other.scorer, 8)
    export.check(other.scorer, graph, other.examples)
    with pytest.raises(MonitorError, match=r"the exported graph and torch differ by .* in error \(allowed: 1e-05\)"):
        export.check(trained.scorer, graph, trained.examples)


@pytest.mark.parametrize(
    "changes",
    [{"score_over": "last"}, {"layers": 2, "dropout": 0.1}, {"window": 1}, {"window": 7, "hidden": 13, "code": 1}],
)
def test_the_runtimes_agree_on_every_artefact_that_is_written(changes: dict[str, object]) -> None:
    """`check` at write time is what `save` runs; here its windows include the extremes and a lone one."""
    torch.set_num_threads(1)
    trained = tiny_trained(FEATURES, 400, **{"epochs": 1, **changes})
    card = trained.manifest_draft.architecture
    export.check(trained.scorer, export.to_onnx(trained.scorer, card.window), trained.examples)


def test_features_of_any_magnitude_pass_the_check(tmp_path: Path) -> None:
    """The tolerance is in standardised units: a pressure in pascal is no reason to refuse."""
    trained = tiny_trained(epochs=1)
    scorer = trained.scorer
    for mean, scale in ((0.0, 1e6), (1e9, 1.0), (0.0, 1e-20), (0.0, 1e37)):
        changes = {"shift": mean, "scale": scale, "minimum": mean - 2 * scale, "maximum": mean + 2 * scale}
        features = [feature.model_copy(update=changes) for feature in scorer.front.features]
        other = Scorer(features, 8, scorer.model, scorer.scoring).eval()
        windows = (mean + scale * (trained.examples - 20)).astype(np.float32)
        export.check(other, export.to_onnx(other, 8), windows)
