"""``impactd completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

from typing import Final

import click

from impactd.cli.common import example

#: The variable by which a shell asks the program for completions.
VARIABLE: Final = "_IMPACTD_COMPLETE"


@click.command(
    "completion",
    epilog=example(
        "impactd completion bash > ~/.local/share/bash-completion/completions/impactd",
        "impactd completion zsh > ~/.zfunc/_impactd",
        "impactd completion fish > ~/.config/fish/completions/impactd.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Write a shell's completion script.

    For the current shell only: source <(impactd completion bash).
    bash needs version 4.4 or later; zsh a directory of fpath.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(ctx.find_root().command, {}, "impactd", VARIABLE).source())
