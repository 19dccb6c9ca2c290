"""Plugins from anywhere: whatever one of them does, the host and the others go on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

Call = Callable[..., Any]

HEAD = """
from dataclasses import replace
import click
from lstmbench import BackendSpec, CorpusSpec, hookimpl
from lstmbench.protocol import D2L

SPEC = BackendSpec("mine", "", "lstmbench_numpy.backend:NumpyBackend", {"cpu": ("eager",)})
"""


def hook(body: str, kind: str = "backends") -> str:
    return f"{HEAD}\n@hookimpl\ndef lstmbench_{kind}():\n    {body}\n"


BROKEN = {
    "import error": "import no_such_module",
    "syntax error": "def",
    "error at import": "raise RuntimeError('first\\nsecond')",
    "exit at import": "import sys; sys.exit('no framework here')",
    "no exception at import": "class Odd(BaseException): pass\nraise Odd",
    "the process ended at import": "import os; os._exit(0)",
    "a misspelt hook": f"{HEAD}\n@hookimpl\ndef lstmbench_backend(): return [SPEC]",
    "a misspelt prefix": f"{HEAD}\n@hookimpl\ndef lstmbnch_backends(): return [SPEC]",
    "a hook without its mark": f"{HEAD}\ndef lstmbench_backends(): return [SPEC]",
    "hook with an unknown argument": f"{HEAD}\n@hookimpl\ndef lstmbench_backends(host): return []",
    "hook raises": hook("raise RuntimeError('no luck')"),
    "hook exits": hook("raise SystemExit(3)"),
    "hook ends the process": hook("import os; os._exit(0)"),
    "no end of offers": hook(
        "from itertools import count; return (replace(SPEC, name=f'm{i}') for i in count())"
    ),
    "hook raises half-way": hook("yield SPEC; raise RuntimeError('no luck')"),
    "nothing returned": hook("return None"),
    "a number returned": hook("return 7"),
    "a string returned": hook("return 'mine'"),
    "strings returned": hook("return ['mine']"),
    "a class returned": hook("return [BackendSpec]"),
    "a name twice": hook("return [SPEC, SPEC]"),
    "a name that cannot be typed": hook("return [replace(SPEC, name='my own')]"),
    "a name with a colon": hook("return [replace(SPEC, name='my:own')]"),
    "no name": hook("return [replace(SPEC, name='')]"),
    "a name that is no string": hook("return [replace(SPEC, name=7)]"),
    "a name of many characters": hook("return [replace(SPEC, name='m' * 300)]"),
    "a name that clears the screen": hook("return [replace(SPEC, name='\\x1b[2J')]"),
    "a name like an option": hook("return [replace(SPEC, name='-m')]"),
    "a spec whose property raises": f"""{HEAD}
class Odd(BackendSpec):
    @property
    def modes(self):
        raise RuntimeError('no luck')

    def __init__(self): object.__setattr__(self, 'name', 'odd')

@hookimpl
def lstmbench_backends(): return [Odd()]
""",
    "a table that raises": f"""{HEAD}
class Odd(dict):
    def values(self): raise RuntimeError('no luck')

@hookimpl
def lstmbench_backends(): return [replace(SPEC, modes=Odd(cpu=('eager',)))]
""",
    "half a character": hook("return [replace(SPEC, summary='\\udcff')]"),
    "an environment that cannot be": hook("return [replace(SPEC, environment={'A=B': 'x'})]"),
    "an environment with a NUL": hook("return [replace(SPEC, environment={'A': '\\0'})]"),
    "an environment without end": hook("return [replace(SPEC, environment={'A': 'x' * 9**7})]"),
    "the name all": hook("return [replace(SPEC, name='all')]"),
    "another interface": hook("return [replace(SPEC, interface=3)]"),
    "no mode": hook("return [replace(SPEC, modes={})]"),
    "a device without a mode": hook("return [replace(SPEC, modes={'cpu': ()})]"),
    "modes in a list": hook("return [replace(SPEC, modes=['eager'])]"),
    "modes as a string": hook("return [replace(SPEC, modes={'cpu': 'eager'})]"),
    "modes that are no strings": hook("return [replace(SPEC, modes={'cpu': (1,)})]"),
    "no factory": hook("return [replace(SPEC, factory=None)]"),
    "a factory without a module": hook("return [replace(SPEC, factory='Mine')]"),
    "imports as a string": hook("return [replace(SPEC, imports='torch')]"),
    "environment of numbers": hook("return [replace(SPEC, environment={'X': 1})]"),
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_plugin_stops_all_with_one_line_and_nothing_else(
    here: Any, call: Call, one_line: Callable[..., None], source: str
) -> None:
    here.plugin("broken", source)
    one_line(call(*here.tiny_run, "--backends", "all"), "'broken'")
    assert not here.runs()
    listed = call("list")
    assert listed.returncode == 0
    assert re.fullmatch("lstmbench: [^\n]*'broken'[^\n]*\n", listed.stderr)
    assert "\nnumpy " in listed.stdout


SAYS = {
    "a misspelt hook": "unknown hook 'lstmbench_backend': did you mean 'lstmbench_backends'?",
    "a misspelt prefix": "unknown hook 'lstmbnch_backends': did you mean 'lstmbench_backends'?",
    "a hook without its mark": "lstmbench_backends lacks the decorator @hookimpl",
    "hook with an unknown argument": "lstmbench_backends has the argument 'host'",
    "exit at import": "cannot be loaded: SystemExit: no framework here",
    "the process ended at import": "cannot be loaded: SystemExit: os._exit(0)",
    "hook ends the process": "lstmbench_backends failed: SystemExit: os._exit(0)",
    "nothing returned": "it returned None where a list is expected",
    "a string returned": "returned str where BackendSpec is expected",
    "no end of offers": "it offers more than 20,000",
    "a name twice": "offers 'mine' twice",
    "a spec whose property raises": "returned a Odd, a subclass of BackendSpec",
    "a table that raises": "lstmbench_backends failed: RuntimeError: no luck",
    "modes in a list": "offers 'mine' with modes=['eager'], expected {device: (mode, ...)}",
    "another interface": "offers 'mine' for interface 3, this lstmbench has 1 to 2",
}


@pytest.mark.parametrize("which", SAYS)
def test_what_is_wrong_is_said(here: Any, call: Call, which: str) -> None:
    here.plugin("broken", BROKEN[which])
    line = call("list").stderr
    assert line.startswith("lstmbench: plugin 'broken' (lstmbench-broken 0.1): ")
    assert SAYS[which] in line


QUIET = {
    "a hook of later versions": "@hookimpl(optionalhook=True)\ndef lstmbench_observers(): pass",
    "a helper": "def lstmbench_version(): pass",
    "something else": "@hookimpl\ndef paint(): pass",
}


@pytest.mark.parametrize("source", QUIET.values(), ids=QUIET.keys())
def test_what_is_no_misspelt_hook(here: Any, call: Call, source: str) -> None:
    here.plugin("mine", f"{hook('return [SPEC]')}\n{source}\n")
    done = call("list")
    assert done.stderr == ""
    assert "\nmine " in done.stdout


def test_a_hook_may_be_implemented_under_another_name(here: Any, call: Call) -> None:
    source = "@hookimpl(specname='lstmbench_backends')\ndef mine(): return [SPEC]"
    here.plugin("mine", f"{HEAD}\n{source}\n")
    here.plugin("other", hook("return [replace(SPEC, name='other')]"))
    done = call("list")
    assert done.stderr == ""
    for name in ("mine", "numpy", "other"):
        assert done.stdout.count(f"\n{name} ") == 1


@pytest.mark.parametrize(
    "source", ["import time; time.sleep(60)", hook("import time; time.sleep(60)")]
)
def test_a_plugin_that_hangs_is_left_out(
    here: Any, call: Call, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    from lstmbench.plugin import registered

    monkeypatch.setattr(registered, "MAX_SECONDS", 0.2)
    here.plugin("slow", source)
    done = call("list")
    assert "plugin 'slow' (lstmbench-slow 0.1): " in done.stderr
    assert "takes longer than 0.2 s" in done.stderr
    assert "\nnumpy " in done.stdout


def test_a_plugin_that_hung_once_is_not_asked_again(
    here: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lstmbench.plugin import registered

    monkeypatch.setattr(registered, "MAX_SECONDS", 0.2)
    body = "open('asked', 'a').write('x'); import time; time.sleep(60)"
    here.plugin("slow", "\n".join(hook(body, kind) for kind in ("backends", "corpora", "formats")))
    call("list")
    assert (here.folder / "asked").read_text() == "x"


def test_what_plugins_print_is_no_output(here: Any, call: Call) -> None:
    here.plugin("loud", f"print('at import')\n{hook('print(1); return [SPEC]')}")
    done = call("plugins", "--format", "json")
    assert [row["name"] for row in json.loads(done.stdout)][-2:] == ["numpy", "loud"]
    assert done.stderr == "at import\n1\n"


def test_of_many_names_the_nearest_few_are_shown(
    here: Any, call: Call, one_line: Callable[..., None]
) -> None:
    here.plugin("many", hook("return [replace(SPEC, name=f'mine{i}') for i in range(10_000)]"))
    done = call(*here.tiny_run, "--backends", "quux")
    one_line(done, "unknown backend 'quux': there are 10,008, such as")
    assert len(done.stderr) < 200


@pytest.mark.parametrize(
    ("option", "kind", "offer"),
    [
        ("--protocol", "protocols", "replace(D2L, name='adam', epochs=0)"),
        ("--corpus", "corpora", "CorpusSpec('adam', '')"),
    ],
)
def test_what_is_missing_may_be_a_broken_plugin_s(
    here: Any, call: Call, one_line: Callable[..., None], option: str, kind: str, offer: str
) -> None:
    here.plugin("aaa", BROKEN["import error"])
    here.plugin("adam", hook(f"return [{offer}]", kind))
    done = call(*here.tiny_run, "--backends", "numpy", option, "adam")
    one_line(done, f"unknown {option[2:]} 'adam': ", "(and plugin 'adam' (lstmbench-adam 0.1): ")
    assert "; 1 more in 'lstmbench plugins')" in done.stderr


def test_an_unknown_command_may_be_a_broken_plugin_s(
    here: Any, call: Call, one_line: Callable[..., None]
) -> None:
    here.plugin("broken", BROKEN["import error"])
    one_line(call("hello"), "unknown command 'hello'", "(and plugin 'broken'")


def test_a_name_that_is_taken_stops_all(
    here: Any, call: Call, one_line: Callable[..., None]
) -> None:
    here.plugin("zebra", hook("return [replace(SPEC, name='numpy')]"))
    one_line(
        call(*here.tiny_run, "--backends", "all"),
        "plugin 'zebra' (lstmbench-zebra 0.1): lstmbench_backends offers 'numpy', which plugin "
        "'numpy' (lstmbench-numpy",
    )
    assert not here.runs()


def test_named_backends_run_beside_a_broken_plugin(cli: Any) -> None:
    cli.plugin("broken", BROKEN["import error"])
    done = cli.run("--backends", "numpy", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "broken" in line]
    assert "no_such_module" in line
    assert cli.records()["numpy"]["status"] == "ok"
    assert cli("--help").returncode == 0
    assert cli("report", cli.store).returncode == 0


def test_what_a_broken_plugin_got_right_can_be_used(cli: Any) -> None:
    cli.plugin("broken", hook("return [SPEC, 7]"))
    done = cli.run("--backends", "mine", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert cli.records()["mine"]["status"] == "ok"


def test_the_second_of_a_name_loses_whatever_the_order_on_disk(here: Any, call: Call) -> None:
    for module in ("zebra", "aardvark"):
        here.plugin(module, hook(f"return [replace(SPEC, summary='from {module}')]"))
    done = call("list")
    assert "from aardvark" in done.stdout
    assert "from zebra" not in done.stdout
    assert "'zebra'" in done.stderr
    assert "offers 'mine', which plugin 'aardvark' (lstmbench-aardvark 0.1) has already" in (
        done.stderr
    )


def test_an_unknown_backend_still_gets_its_near_match(
    here: Any, call: Call, one_line: Callable[..., None]
) -> None:
    here.plugin("broken", BROKEN["import error"])
    one_line(call(*here.tiny_run, "--backends", "nmpy"), "'nmpy'", "'numpy'")


def test_a_backend_of_a_broken_plugin_says_why_it_is_not_there(
    here: Any, call: Call, one_line: Callable[..., None]
) -> None:
    here.plugin("broken", BROKEN["another interface"])
    one_line(call(*here.tiny_run, "--backends", "mine"), "'mine'", "interface 3", "has 1 to 2")
    assert not here.runs()


def test_no_backend_at_all(here: Any, call: Call, one_line: Callable[..., None]) -> None:
    here.distribution("lstmbench-numpy", "")
    one_line(call(*here.tiny_run, "--backends", "all"), "no backend is installed", "pip install")
    one_line(
        call(*here.tiny_run, "--backends", "numpy"),
        "'numpy' is not installed: it comes with lstmbench-numpy",
        "(from a checkout: pip install ./plugins/numpy)",
    )


@pytest.mark.parametrize("kind", ["protocols", "corpora", "commands"])
@pytest.mark.parametrize("body", ["raise RuntimeError('no luck')", "return [7]", "return None"])
def test_a_broken_hook_of_another_kind(
    here: Any, call: Call, one_line: Callable[..., None], kind: str, body: str
) -> None:
    here.plugin("broken", hook(body, kind))
    done = call("list")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "'broken'" in done.stderr
    assert "\nd2l " in done.stdout
    assert "\nbundled " in done.stdout
    one_line(call(*here.tiny_run, "--backends", "all"), "'broken'")


def test_a_plugin_adds_a_command(here: Any, call: Call) -> None:
    command = "return [click.Command('hello', callback=lambda: click.echo('hello, world'))]"
    here.plugin("polite", hook(command, "commands"))
    assert "  hello" in call("--help").stdout
    assert call("hello").stdout == "hello, world\n"


def test_a_plugin_adds_a_protocol_and_a_corpus(cli: Any) -> None:
    cli.plugin(
        "more",
        hook("return [replace(D2L, name='wee', epochs=2, hidden_size=4)]", "protocols")
        + "\n@hookimpl\ndef lstmbench_corpora():\n"
        + "    return [CorpusSpec('abc', 'the alphabet', make=lambda: 'abcdefg ' * 500)]\n",
    )
    done = cli(
        *("run", "--backends", "numpy", "--devices", "cpu", "--protocol", "wee"),
        *("--corpus", "abc", "--store", cli.store),
    )
    assert done.returncode == 0, done.stderr
    record = cli.records()["numpy"]
    assert record["trial"]["corpus"] == "abc"
    assert record["trial"]["protocol"]["name"] == "wee"
    assert len(record["epochs"]["nats"]) == 2
    assert record["vocabulary_size"] == 9


SHORT = {
    "shorter than one window": ("'the time machine'", "too few"),
    "empty": ("''", "empty"),
    "without a letter": ("'1895'", "leaves nothing of it"),
    "one symbol": ("'a' * 1000", "one symbol"),
    "one token too short": ("'a' * 24 + 'b'", "too few"),
}


@pytest.mark.parametrize(("text", "word"), SHORT.values(), ids=SHORT.keys())
def test_a_corpus_of_which_no_window_can_be_made(
    here: Any, call: Call, one_line: Callable[..., None], text: str, word: str
) -> None:
    here.plugin("short", hook(f"return [CorpusSpec('short', '', make=lambda: {text})]", "corpora"))
    one_line(call(*here.tiny_run, "--backends", "numpy", "--corpus", "short"), "'short'", word)
    assert not here.runs()


@pytest.mark.parametrize("text", ["None", "1 / 0", "'abc' * 2 + 1"])
def test_a_corpus_that_cannot_be_made(
    here: Any, call: Call, one_line: Callable[..., None], text: str
) -> None:
    here.plugin("short", hook(f"return [CorpusSpec('odd', '', make=lambda: {text})]", "corpora"))
    one_line(call(*here.tiny_run, "--backends", "numpy", "--corpus", "odd"), "odd")
    assert not here.runs()


def test_a_backend_may_declare_itself_out_of_all(cli: Any) -> None:
    cli.plugin("slow", hook("return [replace(SPEC, out_of_all='it is slow')]"))
    listed = cli("list").stdout
    (line,) = [line for line in listed.splitlines() if line.startswith("mine ")]
    assert "not in 'all': it is slow" in line
    done = cli.run("--backends", "all", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert set(cli.records()) == {"numpy"}


def test_list_says_what_a_backend_needs(here: Any, call: Call) -> None:
    here.plugin(
        "needy",
        hook("return [replace(SPEC, imports=('numpy', 'no_such'), install='pip install it')]"),
    )
    (line,) = [line for line in call("list").stdout.splitlines() if line.startswith("mine ")]
    assert "needs no_such: pip install it" in line


def test_list_survives_a_submodule_among_the_imports(here: Any, call: Call) -> None:
    here.plugin("needy", hook("return [replace(SPEC, imports=('no_such.sub',))]"))
    done = call("list")
    assert done.returncode == 0, done.stderr
    assert "needs no_such.sub" in done.stdout


def test_hooks_can_be_traced(cli: Any) -> None:
    cli.plugin("polite", hook("return [SPEC]"))
    done = cli("list", LSTMBENCH_TRACE_HOOKS="1")
    assert done.returncode == 0
    assert "lstmbench_backends" in done.stderr


def test_the_plan_is_written_before_a_worker_starts(cli: Any) -> None:
    cli.plugin("extra", hook("return [SPEC]"))
    done = cli.run("--backends", "numpy,mine", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    (folder,) = cli.runs()
    plan = json.loads((folder / "plan.json").read_text())
    assert [[t["backend"] for t in group] for group in plan["groups"]] == [["numpy", "mine"]]
    assert {t["name"] for g in plan["groups"] for t in g} == {
        path.stem for path in (folder / "records").iterdir()
    }
