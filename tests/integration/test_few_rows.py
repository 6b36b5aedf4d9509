"""Products of few rows with laid-out matrices: the same numbers, whichever route wins."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models_fixtures import write_opt_like_hub

from alignstudy.generation import few_rows
from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import Rules, Text, write_on
from alignstudy.generation.few_rows import LaidOutProducts, lay_out
from alignstudy.models.load import load_causal_lm
from alignstudy.records import Weights

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    not few_rows._at_hand(), reason="this torch can't lay weights out for oneDNN"
)

EOS, PAD, NEW = 2, 1, 16


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opt")
    write_opt_like_hub(folder, std=0.2, seed=5)
    return load_causal_lm(Weights(folder=folder))


@pytest.fixture
def every_size(monkeypatch):
    """Lay small matrices out, too."""
    monkeypatch.setattr(few_rows, "_LEAST_NUMBERS", 0)


def decided(monkeypatch, *, laid_out):
    """End each race after two turns, with a winner of our choice."""

    def timed(self, *, laid_out, seconds):
        self._seconds[laid_out].append(seconds)
        if self._seconds[True]:
            self.laid_out = winner

    winner = laid_out
    monkeypatch.setattr(few_rows._Race, "timed", timed)


@pytest.fixture
def laid_out_wins(monkeypatch):
    decided(monkeypatch, laid_out=True)


@pytest.fixture
def plain_wins(monkeypatch):
    decided(monkeypatch, laid_out=False)


@pytest.fixture
def convolutions(monkeypatch):
    """Count the products by the laid-out route."""
    counts = []
    product = few_rows._Matrix._laid_out

    def counted(self, rows, size):
        counts.append(rows.numel() // rows.shape[-1])
        return product(self, rows, size)

    monkeypatch.setattr(few_rows._Matrix, "_laid_out", counted)
    return counts


@pytest.mark.usefixtures("every_size", "laid_out_wins")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (301, 37), (512, 1024)])
def test_products_are_those_in_float64_but_for_rounding(inputs, outputs, bias, convolutions):
    torch.manual_seed(1)
    layer = torch.nn.Linear(inputs, outputs, bias=bias).eval()
    products = LaidOutProducts(layer)
    with torch.inference_mode(), products.used():
        for count in [*range(1, 34), 2, 17, 32]:
            wide = torch.randn(count, 1, 2 * inputs)
            for rows in (wide[..., :inputs].contiguous(), wide[..., ::2]):
                true = torch.nn.functional.linear(
                    rows.double(), layer.weight.double(),
                    layer.bias.double() if bias else None,
                )  # fmt: skip
                for _ in range(5):
                    product = layer(rows)
                    assert product.shape == (count, 1, outputs)
                    assert (product - true).abs().max() <= 2e-6 * true.abs().max()
    assert set(convolutions) == set(range(2, 33))


@pytest.mark.usefixtures("every_size")
def test_outside_the_block_nothing_has_changed(network):
    ids = torch.randint(4, 300, (6, 5))
    with torch.inference_mode():
        before = network(input_ids=ids).logits
        with lay_out(network).used():
            within = network(input_ids=ids).logits
        assert all("forward" not in vars(module) for module in network.modules())
        after = network(input_ids=ids).logits
    assert before.equal(after)
    assert (within - before).abs().max() <= 1e-5 * before.abs().max()


@pytest.mark.usefixtures("every_size")
def test_an_error_inside_the_block_leaves_nothing_behind(network):
    with pytest.raises(ZeroDivisionError), lay_out(network).used():
        _ = 1 / 0
    assert all("forward" not in vars(module) for module in network.modules())


@pytest.mark.usefixtures("every_size")
def test_a_layer_that_was_given_another_forward_keeps_it():
    layer = torch.nn.Linear(8, 8)
    stock = layer.forward
    layer.forward = given = lambda rows: 2 * stock(rows)
    products, rows = LaidOutProducts(layer), torch.ones(1, 8)
    with products.used():
        assert layer(rows).equal(2 * stock(rows))
        assert layer.forward is not given
    assert layer.forward is given


@pytest.mark.usefixtures("every_size")
def test_the_faster_route_stays(monkeypatch, convolutions):
    """Time by a clock of our own: the laid-out route is slow for wide matrices."""
    clock = [0.0]
    monkeypatch.setattr(few_rows.time, "process_time", lambda: clock[0])
    layers = {outputs: torch.nn.Linear(32, outputs) for outputs in (16, 64)}
    product = few_rows._Matrix._laid_out

    def slow(self, rows, size):
        clock[0] += 3.0 if self._shape[0] == 64 else 0.5
        return product(self, rows, size)

    monkeypatch.setattr(few_rows._Matrix, "_laid_out", slow)
    model = torch.nn.ModuleList(layers.values())
    for layer in model:
        plain = layer.forward

        def timed(rows, plain=plain):
            clock[0] += 1.0
            return plain(rows)

        layer.forward = timed
    products = LaidOutProducts(model)
    rows = torch.randn(8, 32)
    with torch.inference_mode():
        for layer in model:
            matrix = next(m for m in products._matrices if m.module is layer)
            for _ in range(40):
                matrix(rows)
            convolutions.clear()
            for _ in range(5):
                matrix(rows)
            assert len(convolutions) == (5 if layer is layers[16] else 0)


@pytest.mark.usefixtures("every_size")
@pytest.mark.parametrize("wins", ["laid_out_wins", "plain_wins"])
def test_no_token_differs_from_the_row_alone(request, network, wins, convolutions):
    request.getfixturevalue(wins)
    products = LaidOutProducts(network)
    alone = Rules(
        max_new_tokens=NEW, eos=frozenset({EOS}), pad=PAD, stops=None,
        choose=lambda seeds: Choice(), prefill=lambda lengths: [[n] for n in range(len(lengths))],
        rewrite=True,
    )  # fmt: skip

    @settings(max_examples=15, deadline=None, database=None)
    @given(
        lengths=st.lists(st.integers(2, 60), min_size=1, max_size=40), seed=st.integers(0, 10**6)
    )
    def check(lengths, seed):
        source = random.Random(seed)
        texts = [
            Text(tokens=tuple(source.randrange(4, 300) for _ in range(length)))
            for length in lengths
        ]
        together = Rules(**(vars(alone) | {"products": products}))
        written = write_on(network, texts, together)
        for text, row in zip(texts, written, strict=True):
            single = write_on(network, [text], alone)[0]
            assert until_end(row.tokens) == until_end(single.tokens)

    check()
    assert (len(convolutions) > 500) == (wins == "laid_out_wins")


def until_end(tokens):
    return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens


@pytest.mark.usefixtures("every_size", "laid_out_wins")
def test_a_row_alone_is_computed_as_ever(network, convolutions):
    """What decides where rounding could have chosen must depend on nothing that was timed."""
    rules = Rules(
        max_new_tokens=NEW, eos=frozenset(), pad=PAD, stops=None, choose=lambda seeds: Choice(),
        prefill=lambda lengths: [[0]], rewrite=True, products=LaidOutProducts(network),
    )  # fmt: skip
    write_on(network, [Text(tokens=(5, 6, 7, 8, 9))], rules)
    assert convolutions == []


@pytest.mark.usefixtures("every_size", "laid_out_wins")
def test_a_route_that_is_not_float32_is_never_taken(monkeypatch, convolutions):
    torch.manual_seed(1)
    layer, rows = torch.nn.Linear(64, 32), torch.randn(8, 64)
    products, stock = LaidOutProducts(layer), few_rows._by_layout
    rounded = lambda *given: stock(*given).bfloat16().float()  # noqa: E731
    with torch.inference_mode(), products.used():
        monkeypatch.setattr(few_rows, "_by_layout", rounded)
        plain = torch.nn.functional.linear(rows, layer.weight, layer.bias)
        assert all(layer(rows).equal(plain) for _ in range(20))
    assert len(convolutions) == 1
    few_rows._at_hand.cache_clear()
    assert not few_rows._at_hand()
    few_rows._at_hand.cache_clear()


@pytest.mark.parametrize("fault", [AttributeError, RuntimeError, TypeError])
def test_a_torch_without_the_operations_is_told_by_trying(monkeypatch, fault):
    def missing(*_):
        raise fault

    few_rows._at_hand.cache_clear()
    monkeypatch.setattr(few_rows, "_by_layout", missing)
    assert not few_rows._at_hand()
    few_rows._at_hand.cache_clear()


def test_small_matrices_are_left_as_they_are(network):
    assert LaidOutProducts(network)._matrices == []


@pytest.mark.parametrize("want", ["operation", "memory", "float32"])
def test_without_what_it_takes_nothing_is_laid_out(network, monkeypatch, want):
    model = network
    if want == "operation":
        monkeypatch.setattr(few_rows, "_at_hand", lambda: False)
    elif want == "memory":
        monkeypatch.setattr(few_rows, "free_memory", lambda: 1000)
    else:
        model = torch.nn.Linear(8, 8, dtype=torch.bfloat16)
    assert lay_out(model) is None
    assert lay_out(network) is not None or want != "float32"
