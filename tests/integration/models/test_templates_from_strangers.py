"""C6: a chat template is a stranger's program; it may be wrong, or have no end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import methods_fixtures as fx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judges_fixtures import LLAMA_TEMPLATE, MISTRAL_TEMPLATE, QWEN_TEMPLATE, write_llama_like_judge

from alignstudy.dialogue import Turn
from alignstudy.errors import InputError
from alignstudy.models.chat import renderer
from alignstudy.models.encoders.chat import ChatEncoder
from alignstudy.models.rendering import load_rendering
from alignstudy.models.templates import FIXED_DATE, probe_template, template_of, write_dialogues
from alignstudy.models.tokenizers import load_tokenizer

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
NESTED = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"
DOUBLING = (
    "{% set ns = namespace(x='a') %}{% for _ in range(60) %}{% set ns.x = ns.x + ns.x %}"
    "{% endfor %}{{ ns.x }}"
)
UNBOUNDED = {
    "loops": (LOOPS, "longer than 1 s"),
    "a power": ("{{ 9 ** (9 ** 9) }}", "longer than 1 s"),
    "a power of floats": ("{% set x = (10 ** 3000000) ** 9 %}", "longer than 1 s"),
    "a long text": ("{{ 'a' * 10 ** 10 }}", "more memory"),
    "a text of 100 MB": ("{{ 'a' * 100000000 }}", "more than 64 times"),
    "a text that doubles": (DOUBLING, "more memory"),
    "a long list": ("{{ ([0] * 10 ** 9) | length }}", "more memory"),
    "a filter": ("{{ 'a' | center(10 ** 10) }}", "more memory"),
    "much text": ("{% for a in range(99999) %}{{ 'word ' * 99 }}{% endfor %}", "64 times"),
    "itself": (NESTED, "within itself"),
    "brackets": ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "within itself"),
}
"""Templates without bounds, and what is said of them."""

WRONG = {
    "no division": ("{{ 1 // 0 }}", "ZeroDivisionError"),
    "overflow": ("{{ 'a' * 10 ** 30 }}", "OverflowError"),
    "overflow of floats": ("{{ 10.0 ** 400 }}", "OverflowError"),
    "range": ("{% for a in range(10 ** 9) %}{% endfor %}", "OverflowError"),
    "a key": ("{{ {}['a'].b.c }}", "no attribute"),
    "no syntax": ("{% for %}", "xpected"),
    "a long complaint": ("{{ raise_exception('no' * 1000000) }}", "nonono"),
    "no such filter": ("{{ 'a' | nofilter }}", "nofilter"),
    "class": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "globals": ("{{ cycler.__init__.__globals__.os.system('touch canary') }}", "unsafe"),
    "lipsum": ("{{ lipsum.__globals__['os'].system('touch canary') }}", "unsafe"),
    "attr": ("{{ (''|attr('__class__'))() }}", "unsafe"),
    "format": ("{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}", "unsafe"),
    "namespace": ("{% set ns = namespace(__class__=1) %}", "namespace"),
    "a file": ("{% include '/etc/passwd' %}", "loader"),
    "an import": ("{% import 'os' as os %}{{ os.system('touch canary') }}", "loader"),
}
"""Templates that fail, or try to get out, and what is said of them."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain")
    return load_tokenizer(fx.write_llama(root / "m", tokenizer_from=fx.write_opt(root / "opt")))


@pytest.fixture(autouse=True)
def one_second(monkeypatch, tmp_path):
    """Allow one second, in processes of this test's own; nothing may be left behind."""
    renderer.leave()
    monkeypatch.setattr(renderer, "SECONDS", 1.0)
    monkeypatch.chdir(tmp_path)
    yield
    renderer.leave()
    assert not list(tmp_path.rglob("canary"))


HELLO = [Turn("human", "Hello")]


@pytest.mark.parametrize(("template", "words"), UNBOUNDED.values(), ids=UNBOUNDED)
def test_c6_a_template_without_bounds_is_refused(template, words, tokenizer):
    begun = time.monotonic()
    with pytest.raises(InputError, match="the chat template is no template") as caught:
        probe_template(tokenizer, template)
    assert words in caught.value.why or "longer than" in caught.value.why
    assert len(str(caught.value)) < 2000
    assert time.monotonic() - begun < 20
    assert write_dialogues(tokenizer, "sound", [HELLO]) == (["sound"], None)


@pytest.mark.parametrize(("template", "words"), WRONG.values(), ids=WRONG)
def test_c6_a_template_that_fails_refuses_the_dialogue(template, words, tokenizer):
    texts, refusal = write_dialogues(tokenizer, template, [HELLO])
    assert texts == []
    assert words in refusal.why
    assert 0 < len(refusal.why) < 400
    tokenizer.chat_template = template
    try:
        with pytest.raises(InputError, match="refuses a dialogue") as caught:
            template_of(tokenizer, "chat").prompt("\n\nHuman: Hi\n\nAssistant:")
        assert len(str(caught.value)) < 2000
    finally:
        tokenizer.chat_template = None


ON_A_ROW = (
    "{% for message in messages %}{% if 'magic' in message.content %}"
    + LOOPS
    + "{% endif %}{{ message.content }}{% endfor %}"
)


def test_c6_a_template_that_waits_for_its_row_is_stopped_there(tokenizer):
    probe_template(tokenizer, ON_A_ROW)
    rows = [[Turn("human", f"row {number}")] for number in range(600)]
    texts, refusal = write_dialogues(tokenizer, ON_A_ROW, rows)
    assert (texts[599], refusal) == ("row 599", None)
    rows[500] = [Turn("human", "magic")]
    with pytest.raises(InputError, match="no template that can be used"):
        write_dialogues(tokenizer, ON_A_ROW, rows)


def test_c6_a_judge_s_template_is_bounded_too(tmp_path):
    write_llama_like_judge(tmp_path / "judge", template=ON_A_ROW)
    encoder = ChatEncoder(load_tokenizer(tmp_path / "judge"), 64)
    assert encoder.encode("\n\nHuman: Hi\n\nAssistant:", " Yes").fault == ""
    with pytest.raises(InputError, match="no template that can be used"):
        encoder.encode("\n\nHuman: magic\n\nAssistant:", " Yes")


def test_c6_it_is_met_when_the_folder_is_checked(tmp_path):
    folder = fx.write_llama(tmp_path / "m", tokenizer_from=fx.write_opt(tmp_path / "opt"))
    late = "{% if messages | length > 9 %}" + LOOPS + "{% endif %}{{ messages[0].content }}"
    (folder / "chat_template.jinja").write_text(late)
    with pytest.raises(InputError, match="no template that can be used"):
        load_rendering(folder).outcome()


# Sound templates write what transformers writes.

TOOLS = """\
{%- for message in messages %}
  {%- if loop.index0 > 5 %}{% break %}{% endif %}
  {%- generation %}{{ {'role': message.role, 'said': message['content']} | tojson(indent=1) }}
  {%- endgeneration %}
  {{ dict(a=message.role) | tojson }}{{ tools is none }}{{ documents is none }}
{% endfor %}{{ add_generation_prompt }}{{ eos_token }}{{ messages[-1:] | length }}"""
SOUND = {
    "llama": FIXED_DATE + LLAMA_TEMPLATE, "mistral": MISTRAL_TEMPLATE, "qwen": QWEN_TEMPLATE,
    "tools": TOOLS,
}  # fmt: skip
CONTENTS = st.lists(st.text(st.characters(exclude_categories=[])), min_size=1, max_size=5)


@pytest.mark.parametrize("template", SOUND.values(), ids=SOUND)
@given(contents=CONTENTS, prompted=st.booleans())
def test_texts_are_those_of_apply_chat_template(template, contents, prompted, tokenizer):
    roles = ["human", "assistant"] * 3
    turns = [Turn(role, text) for role, text in zip(roles, contents, strict=False)]
    named = {"human": "user", "assistant": "assistant"}
    expected = tokenizer.apply_chat_template(
        [{"role": named[turn.role], "content": turn.text} for turn in turns],
        chat_template=template, tokenize=False, add_generation_prompt=prompted,
    )  # fmt: skip
    found = write_dialogues(tokenizer, template, [turns], add_generation_prompt=prompted)
    assert found == ([expected], None)


# The process beside.


def test_one_process_serves_until_it_is_killed_and_then_another(tokenizer):
    write_dialogues(tokenizer, "a", [HELLO])
    first = renderer._idle
    write_dialogues(tokenizer, "b", [HELLO])
    assert renderer._idle is first
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert write_dialogues(tokenizer, "c", [HELLO]) == (["c"], None)
    assert renderer._idle is not first


@pytest.mark.parametrize("pipe", ["stdin", "stdout"])
def test_a_process_whose_pipes_were_closed_is_replaced(pipe, tokenizer):
    write_dialogues(tokenizer, "a", [HELLO])
    first = renderer._idle
    getattr(first, pipe).close()
    assert write_dialogues(tokenizer, "b", [HELLO]) == (["b"], None)
    assert renderer._idle is not first
    assert first.returncode is not None


def test_a_fork_asks_a_process_of_its_own(tokenizer):
    write_dialogues(tokenizer, "a", [HELLO])
    before = renderer._idle
    forked = os.fork()
    if forked == 0:
        try:
            found = write_dialogues(tokenizer, "child", [HELLO])
            os._exit(0 if found == (["child"], None) and renderer._idle is not before else 1)
        finally:  # whatever it met, it is no second process of tests
            os._exit(2)
    _, status = os.waitpid(forked, 0)
    assert status == 0
    assert write_dialogues(tokenizer, "b", [HELLO]) == (["b"], None)
    assert renderer._idle is before


def test_an_interrupted_request_is_not_answered_later(tokenizer, monkeypatch):
    from alignstudy.models.chat import worker

    def interrupted(stream):
        raise KeyboardInterrupt

    write_dialogues(tokenizer, "a", [HELLO])
    with monkeypatch.context() as patch:
        patch.setattr(worker, "read_message", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_dialogues(tokenizer, "old", [HELLO])
    assert write_dialogues(tokenizer, "new", [HELLO]) == (["new"], None)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_process_knows_no_secret_and_has_little_memory(tokenizer, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    write_dialogues(tokenizer, "a", [HELLO])
    place = Path("/proc") / str(renderer._idle.pid)
    assert b"hf_secret" not in (place / "environ").read_bytes()
    limits = (place / "limits").read_text()
    assert str(1 << 30) in next(line for line in limits.splitlines() if "address space" in line)


def test_the_process_ends_with_the_one_that_it_serves():
    program = (
        "import os; from alignstudy.models.chat import renderer;"
        "renderer.render('a', [[]]); print(renderer._idle.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    for _ in range(200):
        if not is_at_work(int(done.stdout)):
            return
        time.sleep(0.05)
    pytest.fail("it goes on alone")


def is_at_work(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    told = Path(f"/proc/{process}/stat")  # ended, but nobody has waited for it
    return not (told.exists() and ") Z" in told.read_text())
