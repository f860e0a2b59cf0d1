import io
import os
import subprocess
import sys
import time

os.environ.setdefault("HF_ENDPOINT", "http://127.0.0.1:9")  # a call that forgets its endpoint goes nowhere
os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # else `datasets` calls s3.amazonaws.com
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from loopback import READ_TOKEN, WRITE_TOKEN, LoopbackHub, User, read_folder
from safetensors.numpy import save

CARD = b"---\nlicense: mit\nlanguage: en\ndatasets: [eriktks/conll2000]\ntags: [zoo]\n---\n# A model\n"
WEIGHTS = save({"w": np.zeros((3, 4), np.float32), "b": np.zeros(4, np.float16)})
MODEL = {
    "README.md": CARD,
    "config.json": b'{"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}',
    "model.safetensors": WEIGHTS,
    "onnx/config.json": b"{}",
}
NAME = "FacebookAI/roberta-base"

# huggingface_hub uploads LFS files in a way that its own HTTP client has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.url, token=WRITE_TOKEN)


@pytest.fixture
def fetch(hub, tmp_path):
    def fetch(repo_id=NAME, **options):
        return snapshot_download(repo_id, endpoint=hub.url, cache_dir=tmp_path, **options)

    return fetch


def status(error):
    return error.value.response.status_code


# --- reading ---


def test_describes_a_model(hub, api):
    sha = hub.add("model", NAME, MODEL, info={"downloads": 7})
    info = api.model_info(NAME, files_metadata=True, securityStatus=True)
    assert (info.id, info.sha, info.gated, info.private, info.downloads) == (NAME, sha, False, False, 7)
    assert info.config == {"architectures": ["RobertaForMaskedLM"], "model_type": "roberta"}
    assert (info.library_name, info.card_data.license) == ("transformers", "mit")
    assert {"safetensors", "zoo", "license:mit", "dataset:eriktks/conll2000"} <= set(info.tags)
    assert (info.safetensors.parameters, info.safetensors.total) == ({"F32": 12, "F16": 4}, 16)
    sizes = {s.rfilename: s.size for s in info.siblings}
    assert sizes == {path: len(data) for path, data in MODEL.items()}
    (lfs,) = [s.lfs for s in info.siblings if s.lfs]
    assert (lfs.size, len(lfs.sha256)) == (len(WEIGHTS), 64)
    brief = api.model_info(NAME, expand=["safetensors", "sha"])
    assert (brief.sha, brief.safetensors.total, brief.siblings) == (sha, 16, None)


def test_redirects_a_short_name(hub, api, fetch):
    sha = hub.add("model", NAME, MODEL, alias="roberta-base")
    info = api.model_info("roberta-base", files_metadata=True)
    assert (info.id, info.sha, len(info.siblings)) == (NAME, sha, 4)
    assert [r.status for r in hub.requests] == [307, 200]
    assert hub.requests[1].path == f"/api/models/{NAME}?blobs=true"
    assert api.model_info("roberta-base", revision="main").id == NAME
    assert read_folder(fetch("roberta-base")) == MODEL


def test_downloads_a_commit_once(hub, api, fetch, tmp_path):
    hub.add("model", NAME, MODEL)
    revision = api.resolve_revision(NAME, cache_dir=tmp_path)
    folder = fetch(revision=revision.resolved)
    assert read_folder(folder) == MODEL
    hub.clear()
    assert fetch(revision=revision.resolved) == folder
    assert hub.requests == []


def test_keeps_old_commits(hub, api, fetch):
    old = hub.add("model", NAME, MODEL)
    new = hub.commit("model", NAME, {"README.md": b"new", "onnx/config.json": None})
    assert api.model_info(NAME).sha == new == hub.sha("model", NAME) != old
    assert read_folder(fetch(revision=old)) == MODEL
    assert read_folder(fetch()) == hub.files("model", NAME)
    assert "onnx/config.json" not in hub.files("model", NAME)


def test_commits_are_reproducible(hub):
    with LoopbackHub() as other:
        assert hub.add("model", NAME, MODEL) == other.add("model", NAME, MODEL)


def test_lists_trees_paths_and_refs(hub, api):
    sha = hub.add("model", NAME, MODEL)
    hub.branch("model", NAME, "refs/tags/v1", {"README.md": b""})
    hub.commit("model", NAME, {"README.md": b"new"}, message="Rewrite")
    assert sorted(api.list_repo_files(NAME)) == sorted(MODEL)
    assert [entry.path for entry in api.list_repo_tree(NAME, "onnx")] == ["onnx/config.json"]
    shallow = {entry.path: entry for entry in api.list_repo_tree(NAME, expand=True)}
    assert {*shallow} == {"README.md", "config.json", "model.safetensors", "onnx"}
    assert shallow["README.md"].last_commit.title == "Rewrite"
    assert shallow["config.json"].last_commit.oid == sha
    found = api.get_paths_info(NAME, ["model.safetensors", "onnx", "nothing"])
    assert [entry.path for entry in found] == ["model.safetensors", "onnx"]
    refs = api.list_repo_refs(NAME)
    assert [(ref.name, ref.target_commit) for ref in refs.branches] == [("main", hub.sha("model", NAME))]
    assert hub.files("model", NAME, "v1") == {"README.md": b""}
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(NAME, "nothing"))


def test_serves_ranges(hub, api):
    hub.add("model", NAME, MODEL)
    hub.add("model", "org/wide", {"model.safetensors": save({"x" * 99999: np.zeros(9), "y": np.zeros(1)})})
    assert api.get_safetensors_metadata(NAME).parameter_count == {"F32": 12, "F16": 4}
    assert api.get_safetensors_metadata("org/wide").parameter_count == {"F64": 10}
    assert {r.status for r in hub.requests if "/model.safetensors" in r.path} >= {206}


def test_hashes_are_those_of_git(hub, api, fetch, tmp_path):
    hub.add("model", NAME, MODEL)
    fetch()
    assert api.verify_repo_checksums(NAME, cache_dir=tmp_path).mismatches == []


def test_serves_a_parquet_branch(hub, api, fetch, tmp_path):
    import datasets

    sink = io.BytesIO()
    pq.write_table(pa.table({"tokens": [["a", "b"], ["c"]]}), sink)
    name, ref = "eriktks/conll2000", "refs/convert/parquet"
    hub.add("dataset", name, {"README.md": CARD}, alias="conll2000")
    sha = hub.branch("dataset", name, ref, {"conll2000/train/0000.parquet": sink.getvalue()})
    info = api.dataset_info("conll2000", revision=ref)
    assert (info.id, info.sha) == (name, sha)
    folder = fetch(name, repo_type="dataset", revision=info.sha)
    files = f"{folder}/conll2000/train/0000.parquet"
    data = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "ds"))
    assert data["tokens"][:] == [["a", "b"], ["c"]]
    assert api.list_repo_refs(name, repo_type="dataset").converts[0].name == "parquet"


def test_serves_loadable_checkpoints(hub, fetch, tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizer

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertModel(BertConfig(vocab_size=6, **sizes)).eval()
    model.save_pretrained(tmp_path / "made")
    words = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5}
    BertTokenizer(vocab=words).save_pretrained(tmp_path / "made")
    hub.add("model", "org/tiny", read_folder(tmp_path / "made"))
    folder = fetch("org/tiny")
    hub.clear()
    batch = AutoTokenizer.from_pretrained(folder)("a b", return_tensors="pt")
    loaded = AutoModel.from_pretrained(folder)
    assert torch.equal(loaded(**batch).last_hidden_state, model(**batch).last_hidden_state)
    assert hub.requests == []


def test_serves_another_process(hub, tmp_path):
    sha = hub.add("model", NAME, MODEL, alias="roberta-base")
    code = "from huggingface_hub import snapshot_download as get; print(get('roberta-base'))"
    env = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": READ_TOKEN}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(sha)
    assert all(r.has_token for r in hub.requests if "agent-harnesses" not in r.path)


# --- refusals ---


def test_gate(hub, api, fetch):
    hub.add("model", NAME, MODEL, gated="auto", granted=("bob",))
    hub.tokens["hf_bob"] = User("bob")
    assert api.model_info(NAME).gated == "auto"
    with pytest.raises(GatedRepoError) as error:
        fetch(token=WRITE_TOKEN)
    assert status(error) == 403
    with pytest.raises(GatedRepoError) as error:
        fetch(token=False)
    assert status(error) == 401
    with pytest.raises(GatedRepoError):
        api.auth_check(NAME)
    api.auth_check(NAME, token="hf_bob")
    assert read_folder(fetch(token="hf_bob")) == MODEL


def test_missing(hub, api, tmp_path):
    hub.add("model", NAME, MODEL)
    hub.add("model", "bob/private", {}, private=True)
    for name in ("org/none", "none", "bob/private"):
        with pytest.raises(RepositoryNotFoundError) as error:
            api.model_info(name)
        assert status(error) == 404
    with pytest.raises(RepositoryNotFoundError) as error:
        api.model_info("org/none", token=False)
    assert status(error) == 401
    for revision in ("v9", "0" * 40):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(NAME, revision=revision)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(NAME, "none.json", endpoint=hub.url, cache_dir=tmp_path)


def test_invalid_token(hub, api):
    hub.add("model", NAME, MODEL)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as error:
        api.model_info(NAME, token="hf_wrong")
    assert status(error) == 401
    assert not isinstance(error.value, RepositoryNotFoundError)
    with pytest.raises(HfHubHTTPError):
        api.whoami(token="hf_wrong")
    assert api.whoami()["name"] == "alice"
    assert api.whoami(token=READ_TOKEN)["auth"]["accessToken"]["role"] == "read"


def test_planned_failures(hub, api, fetch):
    sha = hub.add("model", NAME, MODEL)
    hub.fail(429, headers={"Retry-After": "0"})
    hub.fail(500, r"/api/models", method="GET")
    for expected in (429, 500):
        with pytest.raises(HfHubHTTPError) as error:
            api.model_info(NAME)
        assert status(error) == expected
    assert api.model_info(NAME).sha == sha
    hub.fail(0)
    with pytest.raises(Exception, match="disconnected"):
        api.model_info(NAME)
    hub.fail(503, times=None)
    with pytest.raises(LocalEntryNotFoundError):
        fetch()
    hub.recover()
    assert read_folder(fetch()) == MODEL


def test_a_rate_limited_download_waits(hub, fetch):
    hub.add("model", NAME, {"config.json": b"{}"})
    hub.fail(429, r"/resolve/", method="GET", headers={"Retry-After": "0"})
    started = time.monotonic()
    assert read_folder(fetch()) == {"config.json": b"{}"}
    assert time.monotonic() - started >= 1
    assert [r.status for r in hub.requests if r.method == "GET" and "/resolve/" in r.path] == [429, 200]


# --- writing ---


def test_creates_and_commits(hub, api, fetch):
    url = api.create_repo("me")
    assert (url.repo_id, url.endpoint) == ("alice/me", hub.url)
    assert api.create_repo("alice/me", exist_ok=True).repo_id == "alice/me"
    adds = [CommitOperationAdd("README.md", CARD), CommitOperationAdd("a/model.safetensors", WEIGHTS)]
    done = api.create_commit("alice/me", operations=adds, commit_message="Add")
    assert (done.oid, done.pr_url) == (hub.sha("model", "alice/me"), None)
    files = hub.files("model", "alice/me")
    assert (files["README.md"], files["a/model.safetensors"]) == (CARD, WEIGHTS)
    assert read_folder(fetch("alice/me")) == files
    again = [CommitOperationAdd("README.md", CARD), CommitOperationAdd("a/model.safetensors", WEIGHTS)]
    assert api.create_commit("alice/me", operations=again, commit_message="Again").oid == done.oid
    api.create_commit("alice/me", operations=[CommitOperationDelete("a/")], commit_message="Remove")
    assert {*hub.files("model", "alice/me")} == {".gitattributes", "README.md"}
    with pytest.raises(HfHubHTTPError) as error:
        late = [CommitOperationAdd("x.txt", b"x")]
        api.create_commit("alice/me", operations=late, commit_message="Late", parent_commit=done.oid)
    assert status(error) == 412


def test_uploads_a_folder(hub, api, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "config.json").write_bytes(b"{}")
    api.create_repo("alice/data", repo_type="dataset")
    api.upload_folder(repo_id="alice/data", repo_type="dataset", folder_path=tmp_path)
    assert hub.files("dataset", "alice/data").items() >= read_folder(tmp_path).items()


def test_opens_a_pull_request(hub, api, fetch):
    base = hub.add("model", NAME, MODEL)
    adds = [CommitOperationAdd("README.md", b"---\nlicense: mit\n---\nbetter")]
    done = api.create_commit(NAME, operations=adds, commit_message="Better card", create_pr=True)
    assert (done.pr_num, done.pr_revision) == (1, "refs/pr/1")
    results = [CommitOperationAdd(".eval_results/a.yaml", b"[]")]
    api.create_commit(NAME, operations=results, commit_message="More", revision=done.pr_revision)
    (pull,) = hub.pulls("model", NAME)
    assert (pull.number, pull.title, pull.ref, pull.base) == (1, "Better card", "refs/pr/1", base)
    assert {*pull.files} == {"README.md", ".eval_results/a.yaml"}
    assert hub.sha("model", NAME) == base
    (shown,) = api.get_repo_discussions(NAME, discussion_type="pull_request", discussion_status="open")
    assert (shown.num, shown.author, shown.is_pull_request) == (1, "alice", True)
    assert api.list_repo_refs(NAME, include_pull_requests=True).pull_requests[0].ref == "refs/pr/1"
    assert read_folder(fetch(revision="refs/pr/1")) == hub.files("model", NAME, "refs/pr/1")


def test_protects_what_is_not_yours(hub, api):
    hub.add("model", NAME, MODEL)
    adds = [CommitOperationAdd("x.txt", b"x")]
    for token in (READ_TOKEN, WRITE_TOKEN):
        with pytest.raises(HfHubHTTPError) as error:
            api.create_commit(NAME, operations=adds, commit_message="Mine now", token=token)
        assert status(error) == 403
    with pytest.raises(HfHubHTTPError):
        api.create_repo("org/new")


def test_validates_cards(hub, api):
    api.create_repo("alice/me")
    with pytest.raises(ValueError, match="Invalid metadata"):
        broken = [CommitOperationAdd("README.md", b"---\nlicense: [mit\n---\n")]
        api.create_commit("alice/me", operations=broken, commit_message="Broken")
    with pytest.warns(UserWarning, match="empty or missing"):
        empty = [CommitOperationAdd("README.md", b"# Nothing\n")]
        api.create_commit("alice/me", operations=empty, commit_message="Empty")


def test_lists_datasets_by_tag_and_name(hub, api):
    hub.add("dataset", "org/exam", {}, info={"tags": ["benchmark:official"]})
    hub.add("dataset", "org/other", {})
    hub.add("dataset", "bob/exam", {}, private=True, info={"tags": ["benchmark:official"]})
    hub.add("model", "org/exam", MODEL)
    assert [info.id for info in api.list_datasets(benchmark="official", search="exam")] == ["org/exam"]
    assert {info.id for info in api.list_datasets()} == {"org/exam", "org/other"}
    assert [info.id for info in api.list_models()] == ["org/exam"]


def test_lists_commits_newest_first(hub, api):
    first = hub.add("model", NAME, MODEL)
    second = hub.commit("model", NAME, {"new": b""}, message="Add new")
    listed = api.list_repo_commits(NAME)
    assert [(one.commit_id, one.title) for one in listed] == [(second, "Add new"), (first, "initial commit")]


def test_a_pull_request_ends(hub, api):
    hub.add("model", "bob/model", MODEL)
    for number, status in ((1, "closed"), (2, "merged")):
        api.create_commit(
            "bob/model",
            [CommitOperationAdd("notes.txt", str(number).encode())],
            commit_message=f"Add {number}",
            create_pr=True,
        )
        hub.end("model", "bob/model", number, status)
        with pytest.raises(HfHubHTTPError, match="not open"):
            api.create_commit(
                "bob/model",
                [CommitOperationAdd("notes.txt", b"more")],
                commit_message="More",
                revision=f"refs/pr/{number}",
            )
    assert {one.num: one.status for one in api.get_repo_discussions("bob/model")} == {
        1: "closed",
        2: "merged",
    }
    assert not list(api.get_repo_discussions("bob/model", discussion_status="open"))
    assert hub.files("model", "bob/model")["notes.txt"] == b"2"


def test_a_failure_may_come_late_or_after_others(hub, api):
    hub.add("model", "alice/model", MODEL)
    hub.fail(503, "/commit/", skip=1, late=True)
    for name in ("one", "two"):
        add = [CommitOperationAdd(name, b"")]
        if name == "one":
            api.create_commit("alice/model", add, commit_message=name)
        else:
            with pytest.raises(HfHubHTTPError, match="503"):
                api.create_commit("alice/model", add, commit_message=name)
    assert {"one", "two"} <= set(hub.files("model", "alice/model")), "what was asked for was done"


def test_somebody_else_acts_meanwhile(hub, api):
    hub.add("model", "alice/model", MODEL)
    hub.meanwhile("/revision/", lambda: hub.remove("model", "alice/model"))
    assert api.model_info("alice/model").id == "alice/model"
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("alice/model", revision="main")
