"""`turnwise conversations`: what is understood of conversation files, before anything is asked."""

import typer

from turnwise.cli.exits import clear_errors
from turnwise.cli.options import (
    AgentOption,
    ConversationArgument,
    JsonOption,
    SideOption,
    SkipBadOption,
)

__all__ = ["conversations"]


def conversations(
    files: ConversationArgument,
    agent: AgentOption = None,
    side: SideOption = None,
    skip_bad: SkipBadOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is understood of conversation files. Nothing is asked of a model.

    Format, conversations, turns, which words were read as which role, the first turn, and
    what was left out. Exit code 2 when nothing can be read.

    turnwise conversations export.json

    turnwise conversations telegram.json --agent "Support Bot"
    """
    with clear_errors():
        import json

        from turnwise.cli.exits import printable
        from turnwise.cli.reading import reading_progress, say_skipped
        from turnwise.replay.conversation_files import ReadOptions
        from turnwise.replay.conversation_survey import (
            survey_conversations,
            survey_json,
            survey_text,
        )

        with reading_progress(is_quiet=as_json) as progress:
            options = ReadOptions(skip_bad=skip_bad, agent=agent, side=side, progress=progress)
            survey = survey_conversations(files, options)
        if as_json:
            typer.echo(json.dumps(survey_json(survey)))
            return
        for line in survey_text(survey):
            typer.echo(printable(line))
        say_skipped(survey.skipped, survey.skipped_count)
