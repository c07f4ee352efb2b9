"""Where transcripts go, before and after the work."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.transcribe.arguments import parse
from client.transcribe.outputs import OutputError, make_folder, plan_outputs, write_output

STEMS = st.text(st.characters(categories=["L", "N"], include_characters="-.2 "), min_size=1)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), STEMS, st.sampled_from([".wav", ".flac"]))))
def test_no_transcript_takes_anothers_name(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    inputs = [Path(parent, stem + suffix) for parent, stem, suffix in names]
    planned = plan_outputs(inputs, folder, "srt")

    folded = [unicodedata.normalize("NFC", path.name).casefold() for path in planned]
    assert len(set(folded)) == len(inputs)
    assert all(path.parent == folder and path.suffix == ".srt" for path in planned)
    # The first recording of a name gets it.
    seen: set[str] = set()
    for path, recording in zip(planned, inputs, strict=True):
        key = unicodedata.normalize("NFC", recording.stem).casefold()
        assert (path.stem == recording.stem) == (key not in seen)
        seen.add(key)


def test_a_number_is_given_to_the_later_ones_and_takes_nobodys_own_name(tmp_path: Path) -> None:
    inputs = ["a/talk.wav", "b/talk.wav", "talk-2.wav", "a/Talk.flac", 0]
    planned = plan_outputs(inputs, tmp_path, "text")

    assert [path.name for path in planned] == [
        "talk.txt",
        "talk-3.txt",
        "talk-2.txt",
        "Talk-4.txt",
        "stdin.txt",
    ]


@pytest.mark.parametrize("way", ["same", "symlink", "hard link", "folder"])
def test_a_recording_is_never_overwritten(tmp_path: Path, way: str) -> None:
    recording = tmp_path / "talk.txt"
    recording.write_bytes(b"audio")
    other = tmp_path / "other.txt"
    match way:
        case "symlink":
            other.symlink_to(recording)
        case "hard link":
            other.hardlink_to(recording)
        case _:
            pass
    output = {"same": recording, "folder": tmp_path}.get(way, other)

    with pytest.raises(ValueError, match="would overwrite the recording"):
        plan_outputs([recording], output, "text")
    assert recording.read_bytes() == b"audio"


@pytest.mark.parametrize("place", ["folder", "missing/x.txt", "x" * 300 + ".txt", "file/x.txt"])
def test_a_place_that_cannot_be_written_to_is_found_before_the_work(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/talk.txt").mkdir()
    output = tmp_path / ("a" if place == "folder" else place)

    with pytest.raises(ValueError, match="cannot be written"):
        plan_outputs(["talk.wav"], output, "text")
    assert not list(tmp_path.glob("**/.stt-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_place_that_may_not_be_written_to_is_found_before_the_work(
    tmp_path: Path, what: str
) -> None:
    output = tmp_path / "x.txt"
    output.write_text("old")
    (tmp_path if what == "folder" else output).chmod(0o500)
    with pytest.raises(ValueError, match="cannot be written"):
        plan_outputs(["talk.wav"], output, "text")


def test_a_transcript_replaces_the_old_one_and_keeps_its_mode(tmp_path: Path) -> None:
    output = tmp_path / "x.txt"
    output.write_text("old")
    output.chmod(0o640)
    with output.open() as reader:
        write_output(output, "größer\n")
        # A reader of the old file has it to its end.
        assert reader.read() == "old"

    assert output.read_text("utf-8") == "größer\n"
    assert output.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_new_transcript_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    write_output(tmp_path / "x.txt", "")

    assert (tmp_path / "x.txt").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real/target.txt", tmp_path / "x.txt"
    link.symlink_to(target)
    if exists:
        target.write_text("old")
    write_output(link, "new")

    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_named_pipe_gets_the_transcript_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    [planned] = plan_outputs(["talk.wav"], pipe, "text")
    write_output(planned, "one\n")
    reader.join()

    assert read == ["one\n"]
    assert pipe.is_fifo()


def test_a_device_is_written_to_and_a_full_one_is_told() -> None:
    [planned] = plan_outputs(["talk.wav"], Path("/dev/null"), "text")
    write_output(planned, "one\n")
    with pytest.raises(OutputError, match="/dev/full cannot be written"):
        write_output(Path("/dev/full"), "one\n")


def test_a_full_disk_leaves_the_old_transcript_and_nothing_else(tmp_path: Path) -> None:
    output = tmp_path / "x.txt"
    output.write_text("old")
    program = (
        "import sys\n"
        "from client.transcribe.outputs import *\n"
        "try: write_output(Path(sys.argv[1]), 'x' * 100_000)\n"
        "except OutputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, output],
        capture_output=True,
        text=True,
        # A limit on a file's size fails the write as a full disk does.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096)),
    )

    assert done.stdout == f"{output} cannot be written (File too large).\n"
    assert output.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--output", "x.srt"], "srt"),
        (["--output", "x.VTT"], "vtt"),
        (["--output", "x.json"], "json"),
        (["--output", "x.txt"], "text"),
        (["--output", "x.md"], "text"),
        (["--output", "x.md", "--format", "srt"], "srt"),
        (["--output", "x.srt", "--format", "srt"], "srt"),
        ([], "text"),
    ],
)
def test_the_name_of_the_output_says_its_format(arguments: list[str], expected: str) -> None:
    assert parse(["talk.wav", *arguments]).format == expected


def test_a_name_that_contradicts_the_format_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        parse(["talk.wav", "--output", "x.srt", "--format", "vtt"])

    assert left.value.code == 2
    assert "--format vtt contradicts the name of --output x.srt" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_can_be_named(name: str) -> None:
    assert parse(["talk.wav", "--output", name]).output is None


def test_a_slash_at_the_end_means_a_folder_that_is_to_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a" / "out.srt"
    arguments = parse(["one.wav", "two.wav", "--output", f"{folder}/"])
    assert arguments.is_folder
    assert arguments.format == "text"
    make_folder(arguments.output)
    make_folder(arguments.output)
    planned = plan_outputs(["one.wav", "two.wav"], arguments.output, "text")
    assert planned == [folder / "one.txt", folder / "two.txt"]

    with pytest.raises(SystemExit):
        parse(["one.wav", "two.wav", "--output", str(tmp_path / "new")])
    assert f"write {tmp_path}/new/ for a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["--output", f"{tmp_path}/new/"])
    assert "must be a file for a microphone" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/out cannot be made \(Not a directory\)"):
        make_folder(tmp_path / "file" / "out")
