from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path

import pytest

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images import Catalogue, build_catalogue
from vitreport.images.decode import decode
from vitreport.settings import SHARD_SIZE

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
CLASSES = ClassNames(("tench", "goldfish"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(**files: str) -> None:
    for name, content in files.items():
        path = Path("f", name.replace("__", "/") + ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def build(*arguments: str, limit: int | None = None) -> Catalogue:
    return build_catalogue(arguments or ("f",), CLASSES, limit)


def test_every_image_has_the_hash_and_size_of_its_bytes_and_the_id_from_the_hash() -> None:
    write(a="one", b="three")
    for ref in build().refs:
        content = Path(ref.uri).read_bytes()
        assert ref.sha256 == hashlib.sha256(content).hexdigest()
        assert ref.size == len(content)
        assert ref.id == ref.sha256[:16]


def test_a_large_file_is_hashed_whole() -> None:
    Path("f").mkdir()
    Path("f/a.png").write_bytes(bytes(range(256)) * 20_000)
    (ref,) = build().refs
    assert (ref.sha256, ref.size) == (hashlib.sha256(bytes(range(256)) * 20_000).hexdigest(), 5_120_000)


def test_images_are_in_id_order_and_shards_are_fixed_runs_of_it() -> None:
    write(**{f"i{number}": str(number) for number in range(2 * SHARD_SIZE + 5)})
    refs = build().refs
    assert [ref.id for ref in refs] == sorted(ref.id for ref in refs)
    assert [ref.shard for ref in refs] == [place // SHARD_SIZE for place in range(len(refs))]
    assert refs[-1].shard == 2


def test_identical_files_are_numbered_by_sorted_uri_and_the_notice_counts_them() -> None:
    write(c="same", a="same", b__x="same", d="other")
    catalogue = build()
    stem = hashlib.sha256(b"same").hexdigest()[:16]
    ids = {ref.uri: ref.id for ref in catalogue.refs if ref.id.startswith(stem)}
    assert ids == {"f/a.png": stem, "f/b/x.png": f"{stem}-2", "f/c.png": f"{stem}-3"}
    assert catalogue.notices[-1] == "2 files are copies of another"


def test_identical_files_are_numbered_alike_whatever_was_named_first() -> None:
    write(c="same", a="same")
    assert build("f/c.png", "f/a.png").refs == build("f/a.png", "f/c.png").refs


def test_every_image_has_a_path_that_opens_it() -> None:
    write(a="one", b="two", c="two")
    catalogue = build()
    assert set(catalogue.paths) == {ref.id for ref in catalogue.refs}
    for ref in catalogue.refs:
        assert hashlib.sha256(catalogue.paths[ref.id].read_bytes()).hexdigest() == ref.sha256


def test_a_file_whose_name_is_not_utf8_is_catalogued_and_opens() -> None:
    write(a="one")
    Path(os.fsdecode(b"f/b\xff.png")).write_text("two")
    catalogue = build()
    (odd,) = (ref for ref in catalogue.refs if ref.uri != "f/a.png")
    assert odd.uri == "f/b\\xff.png"
    assert catalogue.paths[odd.id].read_text() == "two"


def test_files_that_cannot_be_read_stay_in_the_catalogue_and_decoding_says_why() -> None:
    write(a="one")
    os.mkfifo("f/pipe.png")
    Path("f/dangling.png").symlink_to("nothing.png")
    Path("f/circle.png").symlink_to("circle.png")
    Path("t.csv").write_text(f"path\nf/a.png\nf/gone.png\nf\n{os.devnull}\nf/pipe.png\n")
    catalogue = build("f", "t.csv")
    reasons = {}
    for ref in catalogue.refs:
        if not ref.sha256:
            assert re.fullmatch(r"x[0-9a-f]{15}", ref.id)
            assert ref.id[1:] == hashlib.sha256(ref.uri.encode()).hexdigest()[1:16]
            assert ref.size == 0
            with pytest.raises(ImageError) as caught:
                decode(catalogue.paths[ref.id])
            reasons[ref.uri] = str(caught.value)
    assert reasons == {
        "f/pipe.png": "a named pipe, not a file",
        "f/dangling.png": "a link to nothing",
        "f/circle.png": "too many levels of symbolic links",
        "f/gone.png": "no such file",
        "f": "a folder, not a file",
        os.devnull: "a device, not a file",
    }
    assert len(catalogue.refs) == 7


def test_a_file_that_vanishes_before_it_is_hashed_does_not_stop_the_run() -> None:
    write(a="one", b="two")

    def vanish(done: int, total: int) -> None:
        if done == 0:
            Path("f/b.png").unlink()

    catalogue = build_catalogue(["f"], CLASSES, progress=vanish)
    assert {ref.uri: bool(ref.sha256) for ref in catalogue.refs} == {"f/a.png": True, "f/b.png": False}


def test_a_limit_takes_the_first_images_of_the_source_and_hashes_no_others() -> None:
    write(a="3", b="2", c="1")
    told: list[tuple[int, int]] = []
    catalogue = build_catalogue(["f/c.png", "f"], CLASSES, 2, lambda done, total: told.append((done, total)))
    assert {ref.uri for ref in catalogue.refs} == {"f/c.png", "f/a.png"}
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_a_limit_beyond_the_images_takes_them_all() -> None:
    write(a="1", b="2")
    assert build(limit=10) == build()


def test_the_same_images_give_the_same_catalogue() -> None:
    write(tench__a="1", tench__b="2", goldfish__a="3", goldfish__b="1")
    first, second = build(), build()
    assert first == second
    assert build("f/tench/b.png", "f").sha256 == first.sha256


@pytest.mark.parametrize(
    "change",
    [
        "path,label,group,camera\na.png,1,rain,Y\n",
        "path,label,group,camera\na.png,0,rain,X\n",
        "path,label,group,camera\na.png,1,snow,X\n",
        "path,label,group,camera\nb.png,1,rain,X\n",
        "path,label,group,camera\na.png,1,rain,X\nb.png,1,rain,X\n",
    ],
)
def test_the_root_digest_changes_with_anything_that_is_known_of_an_image(change: str) -> None:
    Path("a.png").write_text("1")
    Path("b.png").write_text("1")
    Path("t.csv").write_text("path,label,group,camera\na.png,1,rain,X\n")
    before = build("t.csv").sha256
    Path("t.csv").write_text(change)
    assert build("t.csv").sha256 != before


def test_the_root_digest_changes_with_the_bytes_of_an_image() -> None:
    write(a="1", b="2")
    before = build().sha256
    write(b="3")
    assert build().sha256 != before
    assert re.fullmatch(r"[0-9a-f]{64}", before)


def test_notices_of_the_sources_are_passed_on() -> None:
    write(tench__a="1")
    assert build().notices == ("the sub-folders of 'f' are classes of this model; they are used as labels",)


def test_an_error_in_the_progress_callback_stops_the_hashing() -> None:
    write(**{f"i{number}": str(number) for number in range(50)})

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_catalogue(["f"], CLASSES, progress=stop)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(SettingsError, match="no such file or folder: 'f'"):
        build()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photos beside the project")
def test_the_photos_give_120_labelled_images() -> None:
    data = pytest.importorskip("timm.data")
    info = data.ImageNetInfo()
    classes = ClassNames(tuple(info.label_descriptions()), tuple(info.label_names()), "timm")
    table = SHARED / "images" / "photos.csv"
    catalogue = build_catalogue([str(table)], classes)
    assert len(catalogue.refs) == 120
    assert catalogue.notices == ()
    for ref in catalogue.refs:
        assert ref.label == classes.wordnet_ids.index(Path(ref.uri).name.split("_")[0])
    by_name = build_catalogue([_named(table, classes)], classes)
    assert [ref.label for ref in by_name.refs] == [ref.label for ref in catalogue.refs]
    assert [dataclasses.replace(ref, uri="") for ref in by_name.refs] == [
        dataclasses.replace(ref, uri="") for ref in catalogue.refs
    ]


def _named(table: Path, classes: ClassNames) -> str:
    """The same table with WordNet ids in place of indices."""
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    lines = [f"{table.parent / path},{classes.wordnet_ids[int(label)]}" for path, label in rows]
    Path("named.csv").write_text("\n".join(["path,label", *lines]))
    return "named.csv"
