"""Downloads against a local HTTP server that cuts, refuses or lies; the published id lists; subsets of a corpus."""

import gzip
import hashlib
import io
import os
import re
import shutil
import tarfile
import threading
import zlib
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_tutorial import download as module
from asr_tutorial.corpus import Corpus, Utterance, read_corpus, read_ids
from asr_tutorial.download import CATALOGUE, Archive, Dataset, download
from asr_tutorial.errors import CorpusError, DownloadError
from asr_tutorial.subset import make_subset

SPLITS = Path(__file__).resolve().parent.parent / "data" / "splits"


class Server:
    """An HTTP server with one file, whose faults a test switches on; ``requests`` holds what was asked and sent."""

    def __init__(self, body):
        self.body = body
        self.ranges = True  # knows Range requests
        self.cut_after = []  # bytes to send before hanging up, one entry for each of the first requests
        self.status = 0  # answer everything with this status
        self.headers = {}
        self.requests = []  # (path, Range header, bytes of body sent)
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler):
        asked = handler.headers.get("Range")
        if self.status:
            self.requests.append((handler.path, asked, 0))
            handler.send_error(self.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.ranges else 0
        body = self.body[start:]
        handler.send_response(206 if asked and self.ranges else 200)
        handler.send_header("Content-Length", str(len(body)))
        if asked and self.ranges:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        for key, value in self.headers.items():
            handler.send_header(key, value)
        handler.end_headers()
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
        self.requests.append((handler.path, asked, len(body)))
        handler.wfile.write(body)

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def serve():
    """Starts servers and stops them after the test."""
    servers = []

    def start(body):
        servers.append(Server(body))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def make_tarball(members):
    """The bytes of a tar.gz; values are the files' bytes, or a TarInfo for what is not a plain file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


# Random bytes stand for FLAC: neither shrinks.
SOUND = np.random.default_rng(1).bytes(40_000)
HONEST = {
    "LibriSpeech/SPEAKERS.TXT": b"1 | F | tiny | 1 | Nobody\n",
    "LibriSpeech/tiny/1/2/1-2-0000.flac": SOUND,
    "LibriSpeech/tiny/1/2/1-2.trans.txt": b"1-2-0000 HELLO\n",
}


@pytest.fixture
def tarball(monkeypatch):
    """Put a tarball into the catalogue as ``tiny`` and return its bytes."""

    def publish(members=HONEST, sha256=None):
        body = make_tarball(members)
        archive = Archive("99/tiny.tar.gz", len(body), sha256 or hashlib.sha256(body).hexdigest())
        monkeypatch.setitem(CATALOGUE, "tiny", Dataset((archive,), 0.1, "for tests"))
        return body

    return publish


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


UNPACKED = sorted(HONEST)


def test_plain(tmp_path, serve, tarball, capsys):
    server = serve(tarball())
    target = download("tiny", tmp_path, [server.url])
    assert target == tmp_path / "LibriSpeech" / "tiny"
    assert (target / "1" / "2" / "1-2-0000.flac").read_bytes() == SOUND
    assert files(tmp_path) == UNPACKED  # no archive, no part, nothing temporary
    assert server.requests == [("/99/tiny.tar.gz", None, len(server.body))]
    assert "unpacked to" in capsys.readouterr().out


def test_already_there(tmp_path, serve, tarball, capsys):
    server = serve(tarball())
    first = download("tiny", tmp_path, [server.url])
    server.requests.clear()
    assert download("tiny", tmp_path, [server.url]) == first
    assert server.requests == []
    assert f"{first} is already there" in capsys.readouterr().out


def test_keep_archive_and_use_an_archive_that_is_there(tmp_path, serve, tarball):
    server = serve(tarball())
    target = download("tiny", tmp_path, [server.url], keep_archive=True)
    assert (tmp_path / "tiny.tar.gz").read_bytes() == server.body
    shutil.rmtree(target)
    download("tiny", tmp_path, [server.url])
    assert len(server.requests) == 1
    assert files(tmp_path) == UNPACKED


def test_several_archives_and_the_common_folder(tmp_path, serve, tarball, monkeypatch):
    server = serve(tarball())
    only = CATALOGUE["tiny"].archives[0]
    (tmp_path / "LibriSpeech" / "other").mkdir(parents=True)
    other = Archive("99/other.tar.gz", 10, "0" * 64)
    monkeypatch.setitem(CATALOGUE, "both", Dataset((other, only), 0.2, "for tests"))
    assert download("both", tmp_path, [server.url]) == tmp_path / "LibriSpeech"
    assert [path for path, _, _ in server.requests] == ["/99/tiny.tar.gz"]  # what was there is not fetched again
    assert CATALOGUE["both"].size == 10 + only.size


def test_text_is_kept_compressed(tmp_path, serve, monkeypatch):
    body = gzip.compress(b"ONCE UPON A TIME\n" * 1000)
    archive = Archive("99/words.txt.gz", len(body), hashlib.sha256(body).hexdigest())
    monkeypatch.setitem(CATALOGUE, "words", Dataset((archive,), None, "for tests"))
    server = serve(body)
    server.headers = {"Content-Encoding": "x-gzip"}  # as Apache does; the bytes must arrive as they are on the server
    assert download("words", tmp_path, [server.url]).read_bytes() == body
    assert files(tmp_path) == ["words.txt.gz"]


def test_cut_connection_is_resumed_in_the_same_call(tmp_path, serve, tarball):
    server = serve(tarball())
    half = len(server.body) // 2
    server.cut_after = [half]
    download("tiny", tmp_path, [server.url])
    (_, first, sent), (_, second, rest) = server.requests
    assert (first, sent) == (None, half)
    assert (second, rest) == (f"bytes={half}-", len(server.body) - half)
    assert files(tmp_path) == UNPACKED


def test_failed_download_is_resumed_by_the_next_call(tmp_path, serve, tarball):
    server = serve(tarball())
    half = len(server.body) // 2
    server.cut_after = [half, 0]
    with pytest.raises(DownloadError, match=r"could not download tiny.tar.gz(.|\n)*are kept in .*tiny.tar.gz.part"):
        download("tiny", tmp_path, [server.url])
    assert (tmp_path / "tiny.tar.gz.part").read_bytes() == server.body[:half]
    server.requests.clear()
    download("tiny", tmp_path, [server.url])
    assert server.requests == [("/99/tiny.tar.gz", f"bytes={half}-", len(server.body) - half)]
    assert files(tmp_path) == UNPACKED


def test_server_without_ranges_starts_over(tmp_path, serve, tarball):
    server = serve(tarball())
    server.ranges = False
    server.cut_after = [len(server.body) // 2]
    download("tiny", tmp_path, [server.url])
    assert [sent for _, _, sent in server.requests] == [len(server.body) // 2, len(server.body)]
    assert files(tmp_path) == UNPACKED


def test_server_without_ranges_that_always_cuts_is_given_up(tmp_path, serve, tarball):
    server = serve(tarball())
    server.ranges = False
    server.cut_after = [1000] * 10
    with pytest.raises(DownloadError, match="could not download"):
        download("tiny", tmp_path, [server.url])
    assert len(server.requests) == 2


def test_second_mirror_takes_over_and_goes_on(tmp_path, serve, tarball, capsys):
    body = tarball()
    down, cutting, good = serve(body), serve(body), serve(body)
    down.close()
    cutting.cut_after = [5000, 0]
    download("tiny", tmp_path, [down.url, cutting.url + "/", good.url])
    assert good.requests == [("/99/tiny.tar.gz", "bytes=5000-", len(body) - 5000)]
    assert capsys.readouterr().out.count("giving up on http://127.0.0.1") == 2
    assert files(tmp_path) == UNPACKED


@pytest.mark.parametrize("status", [403, 404, 503])
def test_error_status_names_the_address(tmp_path, serve, tarball, status):
    server = serve(tarball())
    server.status = status
    with pytest.raises(DownloadError, match=f"{server.url}/99/tiny.tar.gz: HTTP status {status}"):
        download("tiny", tmp_path, [server.url])
    assert files(tmp_path) == []


def test_another_file_does_not_destroy_the_part(tmp_path, serve, tarball):
    """The log-in page of a hotel answers every address with 200."""
    body = tarball()
    page = serve(b"<html>please log in</html>")
    page.ranges = False
    (tmp_path / "tiny.tar.gz.part").write_bytes(body[:3000])
    with pytest.raises(DownloadError, match=f"has 26 bytes, the published one {len(body)}"):
        download("tiny", tmp_path, [page.url])
    assert (tmp_path / "tiny.tar.gz.part").read_bytes() == body[:3000]


def test_wrong_content_range_is_refused(tmp_path, serve, tarball):
    body = tarball()
    server = serve(body)
    server.ranges = False
    server.headers = {"Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}
    (tmp_path / "tiny.tar.gz.part").write_bytes(body[:3000])
    send_response = BaseHTTPRequestHandler.send_response
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseHTTPRequestHandler, "send_response", lambda self, code, *rest: send_response(self, 206))
        with pytest.raises(DownloadError, match="asked for bytes from 3000 on"):
            download("tiny", tmp_path, [server.url])


def test_wrong_checksum(tmp_path, serve, tarball):
    expected = "ab" * 32
    server = serve(tarball(sha256=expected))
    with pytest.raises(DownloadError) as caught:
        download("tiny", tmp_path, [server.url])
    message = str(caught.value)
    assert expected in message
    assert hashlib.sha256(server.body).hexdigest() in message
    assert "run the same command again" in message
    assert files(tmp_path) == []  # it would be wrong again
    assert len(server.requests) == 1


def test_changed_file_is_downloaded_afresh(tmp_path, serve, tarball):
    """A part of another version, glued to the rest of this one, has the right size and the wrong sum."""
    server = serve(tarball())
    (tmp_path / "tiny.tar.gz.part").write_bytes(b"x" * 1000)
    download("tiny", tmp_path, [server.url])
    assert [asked for _, asked, _ in server.requests] == ["bytes=1000-", None]
    assert files(tmp_path) == UNPACKED


def test_part_that_is_too_long_is_downloaded_afresh(tmp_path, serve, tarball):
    server = serve(tarball())
    (tmp_path / "tiny.tar.gz.part").write_bytes(server.body + b"more")
    download("tiny", tmp_path, [server.url])
    assert [asked for _, asked, _ in server.requests] == [None]


def test_complete_part_needs_no_network(tmp_path, tarball):
    (tmp_path / "tiny.tar.gz.part").write_bytes(tarball())
    download("tiny", tmp_path, ["http://127.0.0.1:9"])
    assert files(tmp_path) == UNPACKED


def test_users_own_archive_is_not_deleted_when_it_is_wrong(tmp_path, tarball):
    tarball()
    (tmp_path / "tiny.tar.gz").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="delete the file"):
        download("tiny", tmp_path, ["http://127.0.0.1:9"])
    assert files(tmp_path) == ["tiny.tar.gz"]


def special(name, kind, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../evil.txt", b"x"),
        ("LibriSpeech/../../evil.txt", b"x"),
        ("/tmp/asr_tutorial_evil.txt", b"x"),
        ("evil_link", special("evil_link", tarfile.SYMTYPE, "../../outside")),
        ("evil_link", special("evil_link", tarfile.SYMTYPE, "/etc/passwd")),
        ("evil_link", special("evil_link", tarfile.LNKTYPE, "../outside")),
        ("evil_device", special("evil_device", tarfile.CHRTYPE)),
        ("evil_pipe", special("evil_pipe", tarfile.FIFOTYPE)),
    ],
)
def test_hostile_member(tmp_path, serve, tarball, name, content):
    folder = tmp_path / "data"
    (tmp_path / "outside").write_text("mine")
    server = serve(tarball({**HONEST, name: content, "LibriSpeech/tiny/after.txt": b"x"}))
    with pytest.raises(DownloadError, match="not safe to unpack") as caught:
        download("tiny", folder, [server.url])
    assert name in str(caught.value)
    assert files(tmp_path) == ["data/tiny.tar.gz", "outside"]  # nothing unpacked, inside or outside
    assert [path.name for path in folder.iterdir()] == ["tiny.tar.gz"]
    assert not Path("/tmp/asr_tutorial_evil.txt").exists()


def test_link_inside_the_archive_is_fine(tmp_path, serve, tarball):
    link = special("LibriSpeech/tiny/same", tarfile.SYMTYPE, "1/2/1-2.trans.txt")
    server = serve(tarball({**HONEST, link.name: link}))
    target = download("tiny", tmp_path, [server.url])
    assert (target / "same").read_text() == "1-2-0000 HELLO\n"


def without_end_mark(tarball):
    """The same tarball without the empty blocks at its end, so that unpacking reads up to gzip's own checksum."""
    content = gzip.decompress(tarball).rstrip(b"\0")
    return gzip.compress(content.ljust(-(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, b"\0"))


def garbled(tarball):
    """The same tarball, after whose first half a block of a kind that deflate does not have follows."""
    content, deflate = gzip.decompress(tarball), zlib.compressobj(wbits=31)
    return deflate.compress(content[: len(content) // 2]) + deflate.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 100


@pytest.mark.parametrize("damage", ["truncated", "not gzip", "garbled", "bad checksum"])
def test_damaged_archive(tmp_path, serve, monkeypatch, damage):
    """The SHA-256 is right, so the file was published like that: still a clear error."""
    body = make_tarball(HONEST)
    body = {
        "truncated": body[:20_000],
        "not gzip": b"hello" * 1000,
        "garbled": garbled(body),
        "bad checksum": without_end_mark(body)[:-8] + b"12345678",
    }[damage]
    archive = Archive("99/tiny.tar.gz", len(body), hashlib.sha256(body).hexdigest())
    monkeypatch.setitem(CATALOGUE, "tiny", Dataset((archive,), 0.1, "for tests"))
    with pytest.raises(DownloadError, match=r"tiny.tar.gz is damaged and cannot be unpacked"):
        download("tiny", tmp_path, [serve(body).url])
    assert files(tmp_path) == ["tiny.tar.gz"]


def test_archive_without_the_split(tmp_path, serve, tarball):
    server = serve(tarball({"LibriSpeech/README.TXT": b"x"}))
    with pytest.raises(DownloadError, match="holds no folder LibriSpeech/tiny"):
        download("tiny", tmp_path, [server.url])
    assert files(tmp_path) == ["tiny.tar.gz"]


def test_interrupted_unpacking_leaves_nothing_half(tmp_path, serve, tarball, monkeypatch):
    server = serve(tarball())
    data_filter, seen = tarfile.data_filter, []

    def interrupt(member, destination):
        seen.append(member.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return data_filter(member, destination)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "data_filter", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download("tiny", tmp_path, [server.url])
    assert files(tmp_path) == ["tiny.tar.gz"]
    # What a kill -9 leaves, where no clean-up runs:
    half = tmp_path / ".tiny.tar.gz.unpacking" / "LibriSpeech" / "tiny" / "stale.flac"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    download("tiny", tmp_path, [server.url])
    assert len(server.requests) == 1
    assert files(tmp_path) == UNPACKED


Usage = namedtuple("Usage", "total used free")


def test_too_little_space_to_download(tmp_path, serve, tarball, monkeypatch):
    server = serve(tarball())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 40_000))
    with pytest.raises(DownloadError, match=r"0\.1 MB are needed and 0\.0 MB are free"):
        download("tiny", tmp_path, [server.url])
    assert server.requests == []


def test_too_little_space_to_unpack(tmp_path, serve, tarball, monkeypatch):
    server = serve(tarball())
    answers = [10**9, 10_000]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, answers.pop(0)))
    with pytest.raises(DownloadError, match=r"not enough space to unpack tiny\.tar\.gz"):
        download("tiny", tmp_path, [server.url])
    assert files(tmp_path) == ["tiny.tar.gz"]  # verified, so the next call only unpacks


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_disk_that_fills_up_on_the_way(tmp_path, serve, tarball):
    server = serve(tarball())
    (tmp_path / "tiny.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=f"the disk that holds {tmp_path} is full"):
        download("tiny", tmp_path, [server.url])


def test_folder_that_cannot_be_written(tmp_path, tarball):
    tarball()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot write to .*file"):
        download("tiny", tmp_path / "file" / "data")


def test_unknown_name_lists_the_catalogue(tmp_path):
    with pytest.raises(DownloadError, match=r"'train-clean-1000'.*mini-librispeech, train-clean-100"):
        download("train-clean-1000", tmp_path)


def test_catalogue():
    assert list(CATALOGUE) == [
        *("mini-librispeech", "train-clean-100", "train-clean-360", "train-other-500"),
        *("dev-clean", "test-clean", "dev-other", "test-other", "lm-text"),
    ]
    archives = [archive for dataset in CATALOGUE.values() for archive in dataset.archives]
    assert len({archive.sha256 for archive in archives}) == len(archives) == 10
    for archive in archives:
        assert re.fullmatch(r"(11|12|31)/[a-z0-9-]+\.(tar|txt)\.gz", archive.path)
        assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
        assert archive.size > 10**8
    assert CATALOGUE["lm-text"].hours is None
    assert CATALOGUE["mini-librispeech"].archives[0].contents == "LibriSpeech/train-clean-5"
    assert all(mirror.startswith("https://") for mirror in module.MIRRORS)


@pytest.mark.parametrize(("split", "utterances", "speakers"), [("dev-4spk", 496, 4), ("dev-218spk", 218, 218)])
def test_published_id_lists(split, utterances, speakers):
    ids = read_ids(SPLITS / f"{split}.txt")
    assert len(ids) == len(set(ids)) == utterances
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"[1-9]\d*-[1-9]\d*-\d{4}", name) for name in ids)
    assert len({name.split("-")[0] for name in ids}) == speakers


def test_published_id_lists_share_no_speaker():
    voices = [
        {name.split("-")[0] for name in read_ids(SPLITS / f"{split}.txt")} for split in ("dev-4spk", "dev-218spk")
    ]
    assert not voices[0] & voices[1]


@pytest.mark.parametrize("split", ["dev-4spk", "dev-218spk"])
def test_id_lists_agree_with_the_real_data(real_data, split):
    folder = real_data / "LibriSpeech"
    lines = [line for file in (folder / split).rglob("*.trans.txt") for line in file.read_text().splitlines()]
    ids = read_ids(SPLITS / f"{split}.txt")
    assert sorted(line.split()[0] for line in lines) == ids
    training = {path.name for path in (folder / "train-clean-5").iterdir()}
    assert not training & {name.split("-")[0] for name in ids}


@pytest.fixture
def corpus(tmp_path):
    """Four utterances of two speakers in LibriSpeech's layout."""
    for name in ("1-10-0000", "1-10-0001", "1-11-0000", "2-20-0000"):
        speaker, chapter, _ = name.split("-")
        folder = tmp_path / "all" / speaker / chapter
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.flac", np.zeros(1600, dtype=np.float32), 16_000)
        with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as file:
            file.write(f"{name} THIS IS {name[-1]}\n")
    return read_corpus(tmp_path / "all")


@pytest.mark.parametrize("copy", [False, True])
def test_subset(tmp_path, corpus, copy):
    out = make_subset(corpus, ["2-20-0000", "1-10-0001", "1-10-0001"], tmp_path / "new" / "part", copy=copy)
    assert files(out) == [
        *("1/10/1-10-0001.flac", "1/10/1-10.trans.txt", "2/20/2-20-0000.flac", "2/20/2-20.trans.txt"),
    ]
    subset = read_corpus(out)
    assert [(row.id, row.text) for row in subset] == [("1-10-0001", "THIS IS 1"), ("2-20-0000", "THIS IS 0")]
    original = next(row.audio for row in corpus if row.id == "2-20-0000")
    assert os.path.samefile(original, subset.utterances[1].audio) == (not copy)
    assert files(tmp_path / "new") == [f"part/{name}" for name in files(out)]


def test_subset_copies_where_links_are_impossible(tmp_path, corpus, monkeypatch):
    def refuse(source, target):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    out = make_subset(corpus, ["1-11-0000"], tmp_path / "part")
    assert len(read_corpus(out)) == 1


def test_subset_names_missing_ids(tmp_path, corpus):
    with pytest.raises(CorpusError, match=r"2 of 3 ids.*9-9-0000, 9-9-0001"):
        make_subset(corpus, ["1-10-0000", "9-9-0001", "9-9-0000"], tmp_path / "part")
    assert not (tmp_path / "part").exists()


def test_subset_refuses(tmp_path, corpus):
    with pytest.raises(CorpusError, match="exists already"):
        make_subset(corpus, ["1-10-0000"], tmp_path / "all")
    with pytest.raises(CorpusError, match="no ids were given"):
        make_subset(corpus, [], tmp_path / "part")
    audio = corpus.utterances[0].audio
    odd = Corpus(tmp_path, [Utterance("hello", audio, "HELLO", 1.0), Utterance("1-2-3", audio, None, 1.0)])
    with pytest.raises(CorpusError, match="'hello' is not of LibriSpeech's form"):
        make_subset(odd, ["hello"], tmp_path / "part")
    with pytest.raises(CorpusError, match=r"1-2-3 of .* has no transcript"):
        make_subset(odd, ["1-2-3"], tmp_path / "part")
