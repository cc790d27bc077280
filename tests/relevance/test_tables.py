"""A user writes the rules of the layers as text; what cannot be right is refused by name."""

import pytest
import torch

from datbatch.config import Config
from datbatch.errors import ConfigurationError
from datbatch.relevance import propagate, rules
from datbatch.relevance.layers import linear_map
from datbatch.relevance.tables import FUNCTIONS, choose_rules, read_rule
from tests.relevance.test_propagate import images, tiny_network

PAPER = ["flat", "flat", "alpha-beta(2)", "alpha-beta(2)", "epsilon(1e-4)", "epsilon(1e-4)", "epsilon(1e-4)"]


def deep_network():
    return tiny_network(channels=(1, 2, 2, 2, 2), size=(6, 5, 7)), images(2, (6, 5, 7))


@pytest.mark.parametrize(("suffix", "name"), [("", "paper"), (" without bias", "paper_without_bias")])
def test_the_papers_table_written_out_gives_the_papers_map(suffix, name):
    network, batch = deep_network()
    written = [rule if rule == "flat" else rule + suffix for rule in PAPER]
    assert torch.equal(propagate(network, batch, rules=written), propagate(network, batch, rules=name))


@torch.no_grad()
@pytest.mark.parametrize(
    ("text", "function", "keywords"),
    [
        ("zero", rules.zero, {}),
        ("epsilon", rules.epsilon, {}),
        ("epsilon(0.01)", rules.epsilon, {"amount": 0.01}),
        ("gamma(0.5) without bias", rules.gamma, {"amount": 0.5, "bias": False}),
        ("z+", rules.z_plus, {}),
        ("alpha-beta( 3 )", rules.alpha_beta, {"alpha": 3.0}),
        ("flat", rules.flat, {}),
        ("w-square without bias", rules.w_square, {"bias": False}),
        ("box(0, 2.5)", rules.box, {"low": 0.0, "high": 2.5}),
    ],
)
def test_a_written_rule_is_the_function_with_its_numbers(text, function, keywords):
    torch.manual_seed(3)
    layer = linear_map(torch.nn.Linear(5, 3).double())
    inputs, relevance = torch.rand(2, 5, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    arguments = (layer, inputs, None, relevance)
    assert torch.equal(read_rule(text)(*arguments), function(*arguments, **keywords))


def test_an_unknown_rule_is_answered_with_all_that_are_known():
    with pytest.raises(ConfigurationError) as caught:
        read_rule("magic(2)")
    assert all(name in str(caught.value) for name in FUNCTIONS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epsilon(1e-4", "unknown rule"),
        ("epsilon(a)", "takes amount"),
        ("epsilon(nan)", "takes amount"),
        ("epsilon(0)", "out of its range"),
        ("gamma(-1)", "out of its range"),
        ("alpha-beta(0.5)", "out of its range"),
        ("alpha-beta(2, 1)", "takes alpha"),
        ("flat(1)", "takes nothing"),
        ("flat without bias", "no use of biases"),
        ("box", "takes low, high"),
        ("box(2, 1)", "out of its range"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(text, reason):
    with pytest.raises(ConfigurationError, match=reason):
        read_rule(text)


def test_the_number_of_rules_is_that_of_the_layers():
    network, batch = deep_network()
    with pytest.raises(ConfigurationError, match="6 rules were given for 7 layers"):
        propagate(network, batch, rules=PAPER[1:])
    with pytest.raises(ConfigurationError, match="known are paper, paper_without_bias"):
        choose_rules("z+", [])


def test_a_parameter_file_names_a_table_or_lists_rules(tmp_path):
    path = tmp_path / "parameters.toml"
    path.write_text(f"[explain]\nrules = {PAPER}\n")
    config = Config.from_toml(path)
    assert config.explain.rules == PAPER
    assert Config.from_dict(config.to_dict()) == config
    path.write_text('[explain]\nrules = "paper_without_bias"\n')
    assert Config.from_toml(path).explain.rules == "paper_without_bias"
    path.write_text("[explain]\nrules = [1, 2]\n")
    with pytest.raises(ConfigurationError, match=r"explain\.rules is \[1, 2\]; it must be a text or a list of texts"):
        Config.from_toml(path)
