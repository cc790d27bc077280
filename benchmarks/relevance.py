"""Layer-wise relevance beside zennit, the reference implementation, in one run.

    python benchmarks/relevance.py                               # the paper's network on 91 x 109 x 63
    python benchmarks/relevance.py --preset compact --repeats 1  # small

prints Markdown tables. Needs zennit (`pip install zennit`; torchvision is not needed); without it only our own figures
are printed. Networks have seeded initial weights and biases drawn at random, images are blobs. Both sides get two
threads, zennit the memory order that suits it best; seconds are medians of interleaved calls. Memory is the highest
resident set of a fresh process that explains a batch, less what it holds before: imports, weights and images; on a
graphics processor (`--device cuda`) the most that was allocated there.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from datbatch.classifier.network import PRESETS, arrange, build_network, parameter_count
from datbatch.precision import products
from datbatch.relevance import explain_batch, propagate
from datbatch.relevance.tables import read_rule

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.reference import zennit_peer

SHAPE = (91, 109, 63)
SMALL = (31, 37, 25)
BATCH = 8
Row = tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(PRESETS), default="paper")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each side, one study")
    parser.add_argument("--batch-repeats", type=int, default=2, help="timings of each side, batch of eight")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-double", action="store_true", help="leave float64 on the full grid out (7 GB)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where both sides compute")
    parser.add_argument("--memory-of", choices=["ours", "zennit"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(peak_mib(options.preset, options.memory_of, options.device))
        return
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}")
    count = parameter_count(network(options.preset))
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads"
    print(f"Network `{options.preset}`: {count:,} parameters, {where}\n")
    conserved = conservation_rows(options.preset, options.device)
    table(("without biases: relevance over its start", "largest deviation at any layer"), conserved)
    if not zennit_peer.available():
        print("zennit is not installed: nothing to compare with (`pip install zennit`)")
        return
    table(("largest difference to zennit / maximum", "predicted"), agreement_rows(options))
    head = ("seconds a study", "ours", "zennit", "zennit / ours")
    table(head, time_rows(options))
    table((f"peak memory, batch of {BATCH}, MiB", "ours", "zennit", "ours / zennit"), memory_rows(options))


def table(head: Row, rows: Iterator[Row]) -> None:
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


def network(preset: str, shape: tuple[int, int, int] = SHAPE, *, biases: bool = True) -> nn.Sequential:
    built = build_network(shape, pool=PRESETS[preset].pool, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for layer in built:
        if isinstance(layer, nn.Conv3d | nn.Linear) and layer.bias is not None:
            layer.bias.data = 0.05 * torch.randn(layer.bias.shape, generator=generator)
            if not biases:
                layer.bias = None
    arrange(built, torch.device("cpu"))
    return built


def blobs(count: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    """Smooth random volumes (study, 1, x, y, z) of mean one within an ellipsoid, zero around it."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand((count, 1, *(size // 8 for size in shape)), generator=generator)
    smooth = functional.interpolate(coarse, shape, mode="trilinear")
    axes = torch.meshgrid(*(torch.linspace(-1.1, 1.1, size) for size in shape), indexing="ij")
    inside = (torch.stack(axes).square().sum(dim=0) < 1).float()
    return (2 * smooth + 0.1 * torch.rand(smooth.shape, generator=generator)) * inside


def wait(device: str) -> None:
    """Let an accelerator end what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def conservation_rows(preset: str, device: str) -> Iterator[Row]:
    for kind in (torch.float32, torch.float64):
        # In double precision on a smaller grid: it is the arithmetic that is asked for.
        shape = SHAPE if kind == torch.float32 else SMALL
        built = network(preset, shape, biases=False).to(device=device, dtype=kind)
        convolutions = sum(isinstance(layer, nn.Conv3d) for layer in built)
        # Epsilon takes its share of small outputs by design; a tiny one shows what else is lost.
        exact = [*(["flat"] * 2), *(["alpha-beta(2)"] * (convolutions - 2)), *(["epsilon(1e-12)"] * 3)]
        sums: list[float] = []

        def noted(rule: Callable[..., Tensor], *arguments: Tensor, sums: list[float] = sums) -> Tensor:
            relevance = rule(*arguments)
            sums.append(float(relevance.sum(dtype=torch.float64)))
            return relevance

        rules = [partial(noted, read_rule(rule)) for rule in exact]
        found = explain_batch(built, 100 * blobs(1, shape).to(device=device, dtype=kind), rules=rules)
        start = float(found.logits.max())
        worst = max(abs(value / start - 1) for value in sums)
        yield f"{kind}, {shape}".removeprefix("torch."), f"{worst:.1e}"


def agreement_rows(options: argparse.Namespace) -> Iterator[Row]:
    cases = [(torch.float64, SMALL), (torch.float32, SMALL), (torch.float32, SHAPE)]
    if not options.without_double:
        cases.append((torch.float64, SHAPE))
    for kind, shape in cases:
        for bias in (True, False):
            built = network(options.preset, shape).to(device=options.device, dtype=kind)
            images = blobs(1, shape).to(device=options.device, dtype=kind)
            name = "paper" if bias else "paper_without_bias"
            with products():
                theirs = zennit_peer.explainer(built, zennit_peer.paper_hooks(built, bias=bias))(images)
            ours = propagate(built, images, rules=name)
            difference = float((ours - theirs).abs().max() / theirs.abs().max())
            yield f"{kind}, {shape}, {name}".removeprefix("torch."), f"{difference:.1e}"


def time_rows(options: argparse.Namespace) -> Iterator[Row]:
    built = network(options.preset).to(options.device)
    plain = build_network(SHAPE, pool=PRESETS[options.preset].pool).eval().to(options.device)
    plain.load_state_dict(built.state_dict())
    sides: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": partial(propagate, built),
        "channels last": zennit_peer.explainer(built, zennit_peer.paper_hooks(built)),
        "plain": zennit_peer.explainer(plain, zennit_peer.paper_hooks(plain)),
    }
    for count, times in ((1, options.repeats), (BATCH, options.batch_repeats)):
        images = blobs(count).to(options.device)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        # With one study the first call is not counted; with a batch all is warm.
        for turn in range(-1 if count == 1 else 0, times):
            for name, explain in sides.items():
                start = time.perf_counter()
                with products():
                    explain(images)
                    wait(options.device)
                if turn >= 0:
                    seconds[name].append((time.perf_counter() - start) / count)
        medians = {name: statistics.median(measured) for name, measured in seconds.items()}
        ours = medians.pop("ours")
        order = min(medians, key=medians.__getitem__)
        sides = {name: sides[name] for name in ("ours", order)}
        name = "one study" if count == 1 else f"batch of {count}"
        yield f"{name} (zennit: {order})", f"{ours:.3g}", f"{medians[order]:.3g}", f"{medians[order] / ours:.1f}"


def memory_rows(options: argparse.Namespace) -> Iterator[Row]:
    found = []
    for side in ("ours", "zennit"):
        command = [sys.executable, __file__, "--preset", options.preset, "--threads", str(options.threads),
                   "--device", options.device]  # fmt: skip
        done = subprocess.run([*command, "--memory-of", side], check=True, capture_output=True, text=True)
        found.append([float(number) for number in done.stdout.split()])
    (ours, ours_whole), (theirs, theirs_whole) = found
    yield "beyond imports and weights", f"{ours:.0f}", f"{theirs:.0f}", f"{100 * ours / theirs:.0f} %"
    whole = ours_whole / theirs_whole
    yield "whole process", f"{ours_whole:.0f}", f"{theirs_whole:.0f}", f"{100 * whole:.0f} %"


def peak_mib(preset: str, side: str, device: str) -> str:
    built = network(preset).to(device)
    images = blobs(BATCH).to(device)
    explain: Callable[[Tensor], Tensor] = partial(propagate, built)
    if side == "zennit":
        explain = zennit_peer.explainer(built, zennit_peer.paper_hooks(built))
    if device == "cuda":
        before = torch.cuda.memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        explain(images)
        peak = torch.cuda.max_memory_allocated() / 2**20
    else:
        before = resident_mib()
        explain(images)
        peak = peak_resident_mib()
    return f"{peak - before:.0f} {peak:.0f}"


def peak_resident_mib() -> float:
    """Give the most that this process held. `getrusage` would count what its parent held when it was made."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def resident_mib() -> float:
    """Give what this process holds now: building the network takes more for a moment, but less than explaining."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
