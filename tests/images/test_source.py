from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.item import SourceItem
from vitreport.images.source import read_sources

CLASSES = ClassNames(
    names=("tench, Tinca tinca", "goldfish", "great white shark, white shark", "plane"),
    wordnet_ids=("n01440764", "n01443537", "n01484850", "n02690373"),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Arguments are relative, as users type them."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(name.encode("utf-8", "surrogateescape"))


def read(*arguments: str, classes: ClassNames = CLASSES) -> tuple[list[SourceItem], list[str]]:
    return read_sources(arguments, classes)


def uris(*arguments: str) -> list[str]:
    return [item.uri for item in read(*arguments)[0]]


def labels(*arguments: str) -> list[int | None]:
    return [item.label for item in read(*arguments)[0]]


def groups(*arguments: str) -> list[str | None]:
    return [item.group for item in read(*arguments)[0]]


def refusal(*arguments: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(*arguments)
    return str(caught.value)


# Files and folders.


def test_files_are_listed_as_named_and_in_the_order_named() -> None:
    touch("b.png", "sub/a.jpg", "no_suffix")
    assert uris("b.png", "./sub/a.jpg", "no_suffix") == ["b.png", "sub/a.jpg", "no_suffix"]


def test_the_uri_is_the_folder_as_typed_joined_with_the_relative_path(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch("images/seed/both.png", "work/x")
    monkeypatch.chdir(here / "work")
    assert uris("../images/seed/") == ["../images/seed/both.png"]
    assert uris(str(here / "images")) == [f"{here.as_posix()}/images/seed/both.png"]


def test_the_working_folder_itself_can_be_named() -> None:
    touch("a.png")
    assert uris(".") == ["a.png"]


def test_a_folder_is_read_recursively_and_sorted() -> None:
    touch("f/b.png", "f/a/z.jpg", "f/a/deep/er/y.webp", "f/c.PNG")
    assert uris("f") == ["f/a/deep/er/y.webp", "f/a/z.jpg", "f/b.png", "f/c.PNG"]


@pytest.mark.parametrize(
    "suffix",
    ["jpg", "jpeg", "JPEG", "JPG", "png", "PNG", "webp", "avif", "bmp", "gif", "tif", "tiff", "Tiff", "ppm"],
)
def test_an_image_suffix_is_known_in_any_case(suffix: str) -> None:
    touch(f"f/a.{suffix}")
    assert uris("f") == [f"f/a.{suffix}"]


def test_other_files_and_hidden_ones_are_left_out() -> None:
    touch("f/a.png", "f/notes.txt", "f/photos.csv", "f/png", "f/.hidden.png", "f/.cache/b.png", "f/Thumbs.db")
    assert uris("f") == ["f/a.png"]


def test_a_hidden_folder_that_is_named_is_read() -> None:
    touch(".f/a.png")
    assert uris(".f") == [".f/a.png"]


def test_a_folder_named_like_an_image_is_read_as_a_folder() -> None:
    touch("f/set.png/a.png")
    assert uris("f") == ["f/set.png/a.png"]


def test_a_link_that_leads_back_is_not_followed() -> None:
    touch("f/sub/a.png", "beside/b.png")
    Path("f/sub/self").symlink_to("../sub")
    Path("f/root").symlink_to("../f")
    Path("f/outside").symlink_to("..")
    Path("f/circle").symlink_to("circle")
    assert uris("f") == ["f/sub/a.png"]


def test_a_linked_folder_is_followed_once_and_keeps_its_own_name_where_it_is_inside() -> None:
    touch("f/z/a.png", "elsewhere/b.png")
    Path("f/alias").symlink_to("z")
    Path("f/far").symlink_to("../elsewhere")
    Path("f/far_again").symlink_to("../elsewhere")
    assert uris("f") == ["f/far/b.png", "f/z/a.png"]


def test_what_is_named_like_an_image_but_is_none_is_kept_for_quarantine() -> None:
    touch("f/a.png")
    Path("f/dangling.png").symlink_to("nothing.png")
    os.mkfifo("f/pipe.jpg")
    assert uris("f") == ["f/a.png", "f/dangling.png", "f/pipe.jpg"]


def test_a_name_that_is_not_utf8_has_a_printable_uri_and_an_openable_path() -> None:
    touch(os.fsdecode(b"f/caf\xe9/x\x1b[31m.png"))
    (item,), notices = read("f")
    assert item.uri == "f/caf\\xe9/x\\x1b[31m.png"
    assert item.group == "caf\\xe9"
    assert item.path.read_bytes() == b"f/caf\xe9/x\x1b[31m.png"
    "".join(notices).encode("utf-8")


def test_a_name_in_any_script_is_kept() -> None:
    touch("f/猫/č.png")
    assert uris("f") == ["f/猫/č.png"]


def test_the_order_in_which_the_system_lists_a_folder_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    touch("f/b/2.png", "f/a/1.png", "f/c.png", "f/b/1.png", "elsewhere/3.png")
    Path("f/l2").symlink_to("../elsewhere")
    Path("f/l1").symlink_to("../elsewhere")
    expected = read("f")
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with scandir(path) as listing:
                self.entries = sorted(listing, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert read("f") == expected
    assert [item.uri for item in expected[0]] == [
        "f/a/1.png", "f/b/1.png", "f/b/2.png", "f/c.png", "f/l1/3.png"
    ]  # fmt: skip


# Labels and groups of folders.


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("n01440764", "n02690373"), [0, 3]),
        (("goldfish", "plane"), [1, 3]),
        (("Great_White_Shark", "tench"), [2, 0]),
        (("0", "3"), [0, 3]),
        (("002", "3"), [2, 3]),
        (("n01443537", "white shark"), [1, 2]),
    ],
)
def test_sub_folders_that_are_classes_are_labels_and_the_notice_says_so(
    names: tuple[str, ...], expected: list[int]
) -> None:
    touch(*(f"f/{name}/deeper/a.png" for name in names))
    items, notices = read("f")
    assert {item.uri.split("/")[1]: item.label for item in items} == dict(zip(names, expected, strict=True))
    assert all(item.group is None for item in items)
    assert notices == ["the sub-folders of 'f' are classes of this model; they are used as labels"]


def test_sub_folders_that_are_not_all_classes_are_groups_and_the_notice_names_one() -> None:
    touch("f/goldfish/a.png", "f/rain/night/a.png", "f/b.png")
    items, notices = read("f")
    assert [(item.uri, item.label, item.group) for item in items] == [
        ("f/b.png", None, None),
        ("f/goldfish/a.png", None, "goldfish"),
        ("f/rain/night/a.png", None, "rain/night"),
    ]
    assert notices == [
        "not all sub-folders of 'f' are classes of this model ('rain' is none); they are used as groups"
    ]


@pytest.mark.parametrize("name", ["4", "-1", "1e0"])
def test_sub_folders_with_numbers_out_of_range_are_groups(name: str) -> None:
    touch(f"f/{name}/a.png", "f/0/a.png")
    assert sorted(groups("f"), key=str) == sorted([name, "0"])


def test_classes_beside_loose_images_are_groups_and_the_notice_says_why() -> None:
    touch("f/goldfish/a.png", "f/b.png")
    items, notices = read("f")
    assert [item.label for item in items] == [None, None]
    assert notices == [
        "the sub-folders of 'f' are classes of this model, but 1 of its images is in none of them; "
        "they are used as groups"
    ]


def test_images_directly_in_the_folder_have_no_group_and_need_no_notice() -> None:
    touch("f/a.png", "f/b.png")
    items, notices = read("f")
    assert [(item.label, item.group) for item in items] == [(None, None)] * 2
    assert notices == []


def test_an_empty_sub_folder_does_not_decide_what_the_names_are() -> None:
    touch("f/goldfish/a.png", "f/notes/readme.txt")
    assert labels("f") == [1]


def test_a_folder_without_images_says_what_was_looked_for() -> None:
    touch("f/notes.txt")
    text = refusal("f")
    assert "no image in the folder 'f'" in text
    assert ".jpg" in text and ".avif" in text


def test_what_does_not_exist_is_refused_with_the_nearest_name() -> None:
    touch("photos/a.png")
    assert refusal("photo").startswith("no such file or folder: 'photo'; did you mean 'photos'?")
    assert refusal("").startswith("no such file or folder: ''")
    assert refusal("nowhere/at/all.png").startswith("no such file or folder: 'nowhere/at/all.png'; name")
    assert refusal("bad\0name").startswith("no such file or folder: 'bad\\x00name'")
    assert refusal("bad\ud800name").startswith("no such file or folder: 'bad\\ud800name'")


# CSV tables.


def table(text: str, name: str = "t/photos.csv", encoding: str = "utf-8") -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text.encode(encoding))
    return name


def test_paths_of_a_table_are_relative_to_its_folder(here: Path) -> None:
    touch("t/a.png", "b.png", "t/sub/c.png")
    name = table(f"path\nsub/c.png\n../b.png\n{here / 't/a.png'}\n")
    assert uris(name) == ["t/sub/c.png", "t/../b.png", f"{here.as_posix()}/t/a.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_read_in_its_order_with_all_its_columns(encoding: str, end: str) -> None:
    touch("t/a.png", "t/č.png")
    text = 'path,label,group,camera,note\nč.png,1,rain,Ｘ1,"wet, ""very"""\na.png,,,,\n'
    first, second = read(table(text.replace("\n", end), encoding=encoding))[0]
    assert (first.uri, first.label, first.group) == ("t/č.png", 1, "rain")
    assert first.meta == {"camera": "Ｘ1", "note": 'wet, "very"'}
    assert (second.uri, second.label, second.group, second.meta) == ("t/a.png", None, None, {})


def test_labels_may_be_indices_wordnet_ids_and_names_side_by_side() -> None:
    touch(*(f"t/{number}.png" for number in range(5)))
    name = table("path,label\n0.png,2\n1.png,n01443537\n2.png,Tinca tinca\n3.png,\n4.png, plane \n")
    assert labels(name) == [2, 1, 0, None, 3]
    assert read(name)[1] == []


def test_whole_numbers_written_with_a_point_are_indices() -> None:
    touch("t/0.png", "t/1.png")
    assert labels(table("path,label\n0.png,2.0\n1.png,\n")) == [2, None]


@pytest.mark.parametrize("value", ["4", "-1", "1000.0"])
def test_an_index_out_of_range_is_refused_with_row_value_and_range(value: str) -> None:
    touch("t/0.png", "t/1.png")
    text = refusal(table(f"path,label\n0.png,1\n\n1.png,{value}\n"))
    assert f"label {value} in row 4 of t/photos.csv is out of range" in text
    assert "classes 0 to 3" in text


def test_a_label_column_with_a_text_that_is_no_class_becomes_the_group_and_the_notice_says_so() -> None:
    touch("t/0.png", "t/1.png", "t/2.png")
    name = table("path,label\n0.png,goldfish\n1.png,foo\n2.png,\n")
    items, notices = read(name)
    assert [item.label for item in items] == [None, None, None]
    assert [item.group for item in items] == ["goldfish", "foo", None]
    assert notices == [
        "the column 'label' of t/photos.csv holds no class of this model ('foo' in row 3); "
        "it is used as a group"
    ]


def test_a_label_column_that_is_no_label_stays_beside_the_group_column() -> None:
    touch("t/0.png")
    (item,), (notice,) = read(table("path,label,group\n0.png,foo,rain\n"))
    assert (item.label, item.group, item.meta) == (None, "rain", {"label": "foo"})
    assert notice.endswith("('foo' in row 2); it is kept as a further column")


def test_indices_are_a_group_where_the_model_has_no_classes() -> None:
    touch("t/0.png")
    (item,), notices = read(table("path,label\n0.png,7\n"), classes=ClassNames(()))
    assert (item.label, item.group) == (None, "7")
    assert len(notices) == 1


def test_an_absurdly_long_number_is_no_class() -> None:
    touch("t/0.png")
    assert groups(table(f"path,label\n0.png,{'9' * 5000}\n")) == ["9" * 5000]


def test_own_columns_are_known_in_any_case_and_unnamed_columns_are_left_out() -> None:
    touch("t/0.png")
    (item,), _ = read(table(",Path , LABEL,Camera\n0,0.png,1,X\n"))
    assert (item.uri, item.label, item.meta) == ("t/0.png", 1, {"Camera": "X"})


def test_a_table_suffix_is_known_in_any_case() -> None:
    touch("t/0.png")
    assert uris(table("path\n0.png\n", "t/PHOTOS.CSV")) == ["t/0.png"]


def test_files_that_a_table_names_in_vain_are_kept_for_quarantine() -> None:
    touch("t/0.png")
    assert uris(table("path\n0.png\ngone.png\n")) == ["t/0.png", "t/gone.png"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("file,label\n0.png,1\n", "has no column 'path'"),
        ("path;label\n0.png;1\n", "separated by ';'; separate them by commas"),
        ("", "the file is empty"),
        ("path,label\n", "names no image"),
        ("path,label\n\n,\n", "names no image"),
        ("path,label\n,1\n", "row 2 of t/photos.csv names no path"),
        ("path,label\n0.png,1,2\n", "row 2 of t/photos.csv has 3 cells, its header 2"),
        ("path,label,label\n0.png,1,2\n", "has the column 'label' twice"),
        (
            "path,label\ngone.png,1\n",
            "none of the files that t/photos.csv names exists, for example 't/gone.png'",
        ),
        ('path,label\n"0.png"x,1\n', "is not a readable CSV file"),
        ("path\n" + "x" * 200_000 + "\n", "is not a readable CSV file"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_what_to_do(text: str, expected: str) -> None:
    touch("t/0.png")
    assert expected in refusal(table(text))


def test_a_trailing_comma_is_no_further_cell() -> None:
    touch("t/0.png")
    assert labels(table("path,label\n0.png,1,\n")) == [1]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_that_is_not_utf8_is_refused(encoding: str) -> None:
    touch("t/0.png")
    assert "is not UTF-8 text" in refusal(table("path,label\n0.png,café\n", encoding=encoding))


def test_a_pipe_named_like_a_table_is_refused_and_not_opened() -> None:
    os.mkfifo("pipe.csv")
    assert refusal("pipe.csv") == "cannot read pipe.csv: a named pipe, not a file"


# Several arguments.


def test_a_file_named_twice_is_listed_once_and_the_notice_says_so(here: Path) -> None:
    touch("f/a.png", "f/b.png", "g/c.png")
    Path("link").symlink_to("f")
    items, notices = read("f/b.png", "f", "g", "./f/../f", str(here / "f"), "link")
    assert [item.uri for item in items] == ["f/b.png", "f/a.png", "g/c.png"]
    assert notices == ["7 files were named more than once and listed once"]


def test_a_table_after_a_folder_adds_its_labels() -> None:
    touch("t/a.png", "t/b.png")
    name = table("path,label,group,camera\nb.png,3,rain,X\n")
    items, _ = read("t", name)
    assert [(item.label, item.group, dict(item.meta)) for item in items] == [
        (None, None, {}), (3, "rain", {"camera": "X"})
    ]  # fmt: skip


def test_of_two_labels_of_a_file_the_first_is_used_and_the_notice_says_so() -> None:
    touch("t/a.png")
    items, notices = read(table("path,label\na.png,1\na.png,2\n"))
    assert [item.label for item in items] == [1]
    assert notices[-1] == "'t/a.png' is named with more than one label; the first label is used"


def test_two_links_to_one_file_are_two_images() -> None:
    touch("store/blob", "f/x")
    for name in ("goldfish", "plane"):
        Path("f", name).mkdir()
        Path("f", name, "a.png").symlink_to("../../store/blob")
    assert labels("f") == [1, 3]


def test_real_images_may_be_mixed_with_folders_and_tables() -> None:
    Path("f").mkdir()
    Image.new("RGB", (2, 2)).save("f/a.png")
    Image.new("RGB", (2, 2)).save("b.png")
    assert uris("b.png", "f", table("path\n../b.png\n../f/a.png\n")) == ["b.png", "f/a.png"]
