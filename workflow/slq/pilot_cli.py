"""The subcommands of the diagnostic pilot: cosines of a few texts and images that a person names."""

import argparse

from slq.arguments import JSON, PATH, WHOLE, Commands


def measure(args: argparse.Namespace) -> None:
    from slq.comparators.pilot import measure_pilot

    measure_pilot(args.settings, args.backbone, args.data, args.out)


def render(args: argparse.Namespace) -> None:
    from slq.data.named import named_images, open_named
    from slq.reporting.pilot import render_pilot

    files = named_images(args.settings, args.data)
    render_pilot(args.settings, args.results, lambda name: open_named(files[name]), args.templates, args.out)


COMMANDS: Commands = {
    "pilot measure": (
        measure,
        "write how similar an untrained backbone finds texts and images, by read-out",
        {"--settings": JSON, "--backbone": PATH, "--data": PATH, "--out": PATH, "--threads": WHOLE},
    ),
    "pilot render": (
        render,
        "render the pilot's table and figure",
        {"--settings": JSON, "--results": PATH, "--data": PATH, "--templates": PATH, "--out": PATH},
    ),
}
