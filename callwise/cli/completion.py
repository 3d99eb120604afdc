"""Shell completion: `callwise completion`, and the answer to a shell that asks.

A shell asks by running `callwise` with `_CALLWISE_COMPLETE` set, as the printed script does.
"""

import os
from typing import Annotated, Any, Literal

import typer
from typer.completion import (  # type: ignore[attr-defined]
    completion_init,
    get_completion_script,
)

from callwise.cli.help_pages import CommandGroup
from callwise.cli.options import CommandOptions
from callwise.cli.terminal import print_safe

__all__ = ["CompletingGroup", "completion"]

COMPLETE_VARIABLE = "_CALLWISE_COMPLETE"


class CompletingGroup(CommandGroup):
    """The root of the commands: it answers a shell that asks for completions."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command line, or answer the shell."""
        if COMPLETE_VARIABLE in os.environ:
            completion_init()
        return super().main(*args, **settings)


class CompletionOptions(CommandOptions):
    """Options of `callwise completion`."""

    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")
    ]


_BASH_END = "    return 0\n"
_BASH_NO_BLANK = "    [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
"""A knob's name is followed by its value, not by a blank."""


def completion(options: CompletionOptions) -> None:
    """Print the script that completes commands, options, presets, knobs and runs in a shell.

    bash: callwise completion bash >> ~/.bashrc

    zsh: callwise completion zsh > "${fpath[1]}/_callwise"

    fish: callwise completion fish > ~/.config/fish/completions/callwise.fish
    """
    script = get_completion_script(
        prog_name="callwise", complete_var=COMPLETE_VARIABLE, shell=options.shell
    )
    if options.shell == "bash":
        script = script.replace(_BASH_END, _BASH_NO_BLANK + _BASH_END)
    print_safe(script + "\n")
