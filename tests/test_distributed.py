"""Several processes that train one model: equal to one process, restarted when one is lost, stopped by a signal.

They talk through Gloo on the CPU. Each test on real processes starts them as a user does, with torchrun.
"""

import csv
import os
import re
import signal
import subprocess
import sys

import pytest
import torch
from tiny import sound_corpus
from tiny_training import TEXTS, read_metrics, training_config, weights

from asr_tutorial.config import to_yaml
from asr_tutorial.errors import CheckpointError, ConfigError, Stopped, TrainingError
from asr_tutorial.training import loop, train
from asr_tutorial.training.distributed import ALONE, Ranks, StopRequest, job
from asr_tutorial.training.run import RunFolder, SilentRun, open_run
from asr_tutorial.training.state import load_state

SETTINGS = [
    "--model.dropout=0",
    "--augment.freq_warp=0",
    "--augment.freq_masks=0",
    "--augment.time_masks=0",
    "--training.max_steps=8",
    "--training.validate_every=2",  # metrics.json then has the mean losses of each two steps
    "--training.ctc_weight=0.5",
    "--training.optimizer.lr=1e-3",
    "--training.optimizer.clip=0.5",
    "--data.batch_seconds=5",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]

KILLED = """
import os, signal
from asr_tutorial.training import loop

step = loop.Stepper.step

def dying(self, batches, number):
    if number == 5 and self.ranks.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batches, number)

loop.Stepper.step = dying
from asr_tutorial.cli import main
main()
"""
"""The program, but rank 1 is killed at its sixth step; not again after the restart."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return sound_corpus(tmp_path_factory.mktemp("distributed") / "tiny", TEXTS)


@pytest.fixture(scope="module")
def one_process(corpus):
    """Runs of one process by the number of batches in a step, made when asked for."""
    made = {}

    def run_of(accumulate):
        if accumulate not in made:
            made[accumulate] = corpus.parent / f"one-{accumulate}"
            settings = [*SETTINGS, f"--training.accumulate={accumulate}"]
            train(training_config(corpus, *settings), made[accumulate], progress=False)
        return made[accumulate]

    return run_of


def write_config(corpus, folder, *overrides):
    path = folder / "config.yaml"
    path.write_text(to_yaml(training_config(corpus, *SETTINGS, *overrides)), encoding="utf-8")
    return path


def environment(**variables):
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return {**clean, "OMP_NUM_THREADS": "1", **variables}


def torchrun(processes, *arguments, program=("-m", "asr_tutorial"), cwd=None, restarts=0):
    command = [*TORCHRUN, f"--nproc-per-node={processes}", f"--max-restarts={restarts}", *program, *arguments]
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=900, env=environment(), cwd=cwd, check=False
    )
    return result


def losses(run):
    """What the steps and each validation measured."""
    return [
        {
            "step": record["step"],
            **{name: record["train"][name] for name in ("loss", "ctc", "attention", "token_accuracy", "grad_norm")},
            **{f"dev_{name}": value for name, value in next(iter(record["dev"].values())).items()},
        }
        for record in read_metrics(run)["validations"]
    ]


def assert_same_run(run, reference):
    measured, expected = losses(run), losses(reference)
    assert [record["step"] for record in measured] == [2, 4, 6, 8]
    for ours, theirs in zip(measured, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    ours, theirs = weights(run), weights(reference)
    # Adam divides by the root of the second moment: where a gradient is next to nothing, its rounding shows.
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-4
    assert read_metrics(run)["test"]["wer"] == pytest.approx(read_metrics(reference)["test"]["wer"], abs=1e-9)
    assert read_metrics(run)["test"]["corpora"]


# ------------------------------------------------------------------------------------------------ torchrun


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_two_processes_make_the_steps_of_one(corpus, one_process, tmp_path, accumulate):
    """accumulate 1: each batch is cut in two; 2: each process has one; 3, and the ends of epochs: a mixture."""
    config = write_config(corpus, tmp_path, f"--training.accumulate={accumulate}", "--training.log_every=1")
    result = torchrun(2, "train", "--config", config, "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "run", one_process(accumulate))
    # The first process alone writes and speaks.
    assert result.stderr.count("step 8 loss") == 1
    assert result.stdout.count("recogniser:") == 1
    assert len(list((tmp_path / "run").glob("events.out*"))) == 1
    with (tmp_path / "run" / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [2, 4, 6, 8]
    samples = (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8")
    assert samples == (one_process(accumulate) / "samples.txt").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "settings", "measures"),
    [
        ("paraformer", ["predictor.hidden=8", "glancing=0"], ["quantity", "length_error"]),  # each glances elsewhere
        # Without Muon, which makes the smallest singular values large, and rounding with them.
        ("lact", ["conv_kernel=0", "lact.heads=2", "lact.causal=true", "lact.audio_dropout=0", "lact.muon=false"], []),
    ],
)
def test_two_processes_train_other_architectures(corpus, tmp_path, architecture, settings, measures):
    """Measures are means over the utterances of all processes, and no parameter lets them wait."""
    settings = [f"--model.architecture={architecture}", *(f"--model.{setting}" for setting in settings)]
    settings.append(f"--training.validation_search={'parallel' if architecture == 'paraformer' else 'greedy'}")
    settings.append("--training.accumulate=3")
    train(training_config(corpus, *SETTINGS, *settings), tmp_path / "one", progress=False)
    result = torchrun(2, "train", "--config", write_config(corpus, tmp_path, *settings), "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert_same_run(tmp_path / "run", tmp_path / "one")
    runs = [read_metrics(tmp_path / name)["validations"] for name in ("run", "one")]
    for ours, theirs in zip(*runs, strict=True):
        for name in measures:
            assert ours["train"][name] == pytest.approx(theirs["train"][name], rel=1e-5)


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_run_ends_as_it_would_have(corpus, one_process, tmp_path):
    config = write_config(corpus, tmp_path)
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    # Without --run-dir: the restarted processes find the folder by themselves.
    result = torchrun(2, "train", "--config", config, program=[tmp_path / "killed.py"], cwd=tmp_path, restarts=1)
    assert result.returncode == 0, result.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert "resumed at step 4 of 8" in (run / "train.log").read_text(encoding="utf-8")
    assert_same_run(run, one_process(1))


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(corpus, one_process, tmp_path, before, after):
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        if before == 1:
            stop_at(patch, 3)
            with pytest.raises(Stopped):
                train(training_config(corpus, *SETTINGS), run, progress=False)
        else:
            config = write_config(corpus, tmp_path)
            (tmp_path / "stopped.py").write_text(
                KILLED.replace("SIGKILL", "SIGTERM").replace("number == 5", "number == 2"), encoding="utf-8"
            )
            result = torchrun(before, "train", "--config", config, "--run-dir", run, program=[tmp_path / "stopped.py"])
            assert result.returncode == 0, result.stderr
            assert "after step 3 of 8, the state is saved" in result.stderr
    assert load_state(run / "checkpoints" / "latest" / "state.pt")["progress"]["step"] == 3
    result = torchrun(after, "train", "--resume", run)
    assert result.returncode == 0, result.stderr
    assert "resumed at step 3 of 8" in (run / "train.log").read_text(encoding="utf-8")
    assert_same_run(run, one_process(1))


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_its_message(corpus, tmp_path):
    config = write_config(corpus, tmp_path)
    program = KILLED.replace(
        "os.kill(os.getpid(), signal.SIGKILL)",
        "from asr_tutorial.errors import TrainingError; raise TrainingError('no more of it')",
    )
    (tmp_path / "failing.py").write_text(program, encoding="utf-8")
    # The others must not wait for it: torchrun would, for hours.
    result = torchrun(2, "train", "--config", config, "--run-dir", tmp_path / "run", program=[tmp_path / "failing.py"])
    assert result.returncode != 0
    assert "error in process 1 of 2: no more of it" in result.stderr
    assert "Traceback" not in result.stderr.partition("ChildFailedError")[0].partition("elastic")[0]
    again = torchrun(2, "train", "--config", config, "--run-dir", tmp_path / "run")
    assert again.returncode != 0
    assert "already holds a run: resume it with --resume" in again.stderr


# ------------------------------------------------------------------------------------------------ one process


def stop_at(patch, step):
    """Send SIGUSR1 to this process within a step, counted from 1."""
    original = loop.Stepper.step

    def stopping(self, batches, number):
        if number == step - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, batches, number)

    patch.setattr(loop.Stepper, "step", stopping)


def test_a_signal_saves_the_state_and_auto_goes_on(corpus, one_process, tmp_path):
    config, run = training_config(corpus, *SETTINGS), tmp_path / "run"
    handler = signal.getsignal(signal.SIGUSR1)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(
            Stopped, match=r"stopped by SIGUSR1 after step 5 of 8, the state is saved; go on with: .*run"
        ):
            train(config, run, progress=False, go_on=True)
    assert signal.getsignal(signal.SIGUSR1) is handler
    assert load_state(run / "checkpoints" / "latest" / "state.pt")["progress"]["step"] == 5  # no multiple of 2
    train(config, run, progress=False, go_on=True)
    assert "resumed at step 5 of 8" in (run / "train.log").read_text(encoding="utf-8")
    assert_same_run(run, one_process(1))


def test_auto_begins_again_where_there_is_no_state_yet(corpus, tmp_path):
    config = training_config(corpus, *SETTINGS)
    first = RunFolder.create(config, tmp_path / "run")
    first.add_validation({"step": 1})
    first.close()
    run, resuming = open_run(config, tmp_path / "run", None, True, ALONE)
    run.close()
    assert not resuming
    assert run.metrics["validations"] == []
    assert run.metrics["environment"]["torch"] == torch.__version__


def test_auto_refuses_other_settings(corpus, tmp_path):
    config = training_config(corpus, *SETTINGS)
    RunFolder.create(config, tmp_path / "run").close()
    other = training_config(corpus, *SETTINGS, "--training.optimizer.lr=1e-4", "--model.d_model=8")
    with pytest.raises(
        ConfigError, match=r"run with another model\.d_model, training\.optimizer\.lr: give the settings"
    ):
        open_run(other, tmp_path / "run", None, True, ALONE)
    with pytest.raises(CheckpointError, match="is not a run folder"):
        open_run(None, None, tmp_path / "nowhere", False, ALONE)


def test_the_command_stops_with_its_own_exit_code(corpus, tmp_path):
    endless = ["--training.max_steps=100000", "--training.validate_every=100000", "--training.log_every=1"]
    config = write_config(corpus, tmp_path, *endless)
    command = [sys.executable, "-m", "asr_tutorial", "train", "--config", config, "--run-dir", tmp_path / "run"]
    command = [*map(str, command), "--resume", "auto"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    for line in process.stderr:
        if "step 1 loss" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 75, stderr
    assert re.search(r"stopped by SIGTERM after step \d+ of 100000, the state is saved", stderr)


def test_auto_needs_a_folder():
    command = [sys.executable, "-m", "asr_tutorial", "train", "--resume", "auto"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--resume auto needs --run-dir" in result.stderr


# ------------------------------------------------------------------------------------------------ parts


def test_what_the_environment_says():
    assert Ranks.from_environment({}) == ALONE
    assert Ranks.from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == Ranks(3, 4, 1)
    assert Ranks.from_environment({"RANK": "3", "WORLD_SIZE": "4"}).local_rank == 3  # one machine
    with pytest.raises(ConfigError, match="WORLD_SIZE is 'two', not a number"):
        Ranks.from_environment({"RANK": "0", "WORLD_SIZE": "two"})


def test_one_process_does_nothing_with_others():
    assert ALONE.first
    assert ALONE.alone
    assert ALONE.sum([1.5, 2]) == [1.5, 2]
    assert ALONE.gather(["a"]) == ["a"]
    module = torch.nn.Linear(1, 1)
    assert ALONE.parallel(module) is module
    with ALONE.joined(torch.device("cpu")), ALONE.first_on_each_machine():
        ALONE.wait()
        ALONE.check_agreement("a number", 3)


def test_processes_and_devices(monkeypatch):
    ranks = Ranks(1, 2, 1)
    assert ranks.device("cpu").type == "cpu"
    monkeypatch.setattr("asr_tutorial.training.distributed.pick_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert Ranks(1, 2, 0).device("cuda") == torch.device("cuda:0")
    with pytest.raises(ConfigError, match="has no GPU, there are 1: give torchrun --nproc-per-node=1"):
        ranks.device("cuda")
    with pytest.raises(ConfigError, match="would put all 2 processes on one GPU"):
        ranks.device("cuda:0")


def test_disagreement_is_told(monkeypatch):
    monkeypatch.setattr(Ranks, "gather", lambda self, items: [28, 30])
    with pytest.raises(TrainingError, match=r"the size of the vocabulary is not the same in all processes \(28, 30\)"):
        Ranks(0, 2).check_agreement("the size of the vocabulary", 28)


def test_a_lost_process_is_told(monkeypatch):
    module = "asr_tutorial.training.distributed"
    monkeypatch.setattr(f"{module}.rendezvous", lambda *arguments, **options: iter([(None, 1, 2)]))
    monkeypatch.setattr("torch.distributed.PrefixStore", lambda prefix, store: store)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *arguments, **options: None)

    def work_that_fails(message):
        with Ranks(1, 2).joined(torch.device("cpu")):
            raise RuntimeError(message)

    with pytest.raises(TrainingError, match=r"process 1 of 2 lost another one \(Connection closed by peer .*1234\)"):
        work_that_fails("Connection closed by peer [127.0.0.1]:1234\nand more")
    with pytest.raises(RuntimeError, match="something else"):
        work_that_fails("something else")


def test_the_job_is_torchruns(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "my-job")
    assert job() == "my-job"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert job().endswith(f":{os.getppid()}")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert job() == ""


def test_a_restarted_job_finds_its_own_newest_run(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = training_config(corpus, *SETTINGS)
    made = []
    for name in ("another", "mine", "mine"):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", name)
        run = RunFolder.create(config)
        run.write_metrics()
        run.close()
        made.append(run.path)
        os.utime(run.path / "metrics.json", (len(made), len(made)))
    found, resuming = open_run(config, None, None, True, ALONE)
    found.close()
    assert (found.path, resuming) == (made[2], False)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a-new-one")
    new, _ = open_run(config, None, None, True, ALONE)
    new.close()
    assert new.path not in made


def test_other_processes_write_nothing(corpus, tmp_path):
    run = SilentRun(tmp_path / "run", training_config(corpus, *SETTINGS))
    run.log_scalars({"a": 1.0}, 1)
    run.log_samples("title", [])
    run.log_figure("name", None, 1)
    run.add_validation({"step": 1})
    run.write_metrics()
    run.close()
    assert not (tmp_path / "run").exists()


def test_a_thread_sees_no_signals():
    import threading

    seen = []

    def body():
        with StopRequest() as stop:
            seen.append(stop.name)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [""]
