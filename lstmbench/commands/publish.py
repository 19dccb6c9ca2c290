"""``lstmbench publish``: results where people read them, so that anyone can check them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lstmbench.commands.options import published_option, relative_option
from lstmbench.errors import UserError
from lstmbench.messages import tell
from lstmbench.plugin.hookspecs import hookimpl

if TYPE_CHECKING:
    from lstmbench.publish.signing import Service


@click.command(
    help="Publish RUNS: folders of runs, stores of runs, published stores, bundles.\n\n"
    "--to merges their records into a published store and makes its tables, plots and pages "
    'again; doing so again changes nothing. "lstmbench verify" checks such a store.'
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    help="The published store to merge into. If nothing else is asked for: results.",
)
@click.option("--allow-dirty", is_flag=True, help="Publish what names no clean commit, marked so.")
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Publish shards of a plan though others of it are not there.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the records as one zip file, for others to publish or verify.",
)
@click.option(
    "--sign",
    is_flag=True,
    help="With --bundle: sign it as yourself with Sigstore, beside it as .sigstore.json.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    help="A Markdown file: tables replace what stands between <!-- lstmbench:begin --> and "
    "<!-- lstmbench:end -->.",
)
@click.option("--block", default="", help="Of several blocks the one whose markers end in this.")
@click.option(
    "--plot",
    "plots",
    multiple=True,
    type=click.Choice(("perplexity", "roofline", "scaling")),
    help="With --into: these plots above the tables, as links to the store's or run's files.",
)
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    help='Append the tables to this Markdown file, such as "$GITHUB_STEP_SUMMARY".',
)
@click.option(
    "--only",
    multiple=True,
    metavar="FIELD=VALUE",
    help="With --into, --summary: trials with this protocol, init, seed, hidden_size, ...",
)
@click.option(
    "--table",
    type=click.Choice(("full", "best")),
    default="full",
    show_default=True,
    help="With --into, --summary: all rows, or the fastest of each backend and device.",
)
@relative_option
@published_option
def publish(runs: tuple[Path, ...], to: Path | None, **options: Any) -> None:
    from lstmbench.publish import block, signing
    from lstmbench.records import filters
    from lstmbench.records.store import check_readable
    from lstmbench.runner.journal import recover

    wanted = filters.parse(options["only"])
    into, summary, bundle = options["into"], options["summary"], options["bundle"]
    if to is None and not (into or summary or bundle):
        to = Path("results")
    if wanted and not (into or summary):
        raise UserError("--only chooses what --into and --summary show; a store takes whole runs")
    if options["published"] and not (into or summary):
        raise UserError("--published adds to what --into and --summary show; name one of them")
    if options["sign"] and not bundle:
        raise UserError("--sign signs a bundle: name one with --bundle")
    signer = signing.service() if options["sign"] else None
    check_readable(runs)
    tell(recover(runs))
    page = block.Page(into, options["block"]) if into else None
    lines: dict[str, None] = {}  # each once, in order
    shown: Sequence[Path] = runs
    if to is not None:
        lines |= dict.fromkeys(_store(runs, to, options["allow_dirty"], options["allow_missing"]))
        shown = [to]
    if bundle:
        allow = options["allow_dirty"] or to is not None
        missing = options["allow_missing"] or to is not None
        lines |= dict.fromkeys(_bundle(shown, bundle, allow, missing, signer))
    if page or summary:
        view = block.TableView(
            wanted, options["table"] == "best", options["relative_to"], options["published"]
        )
        count, damaged = view.write(shown, page, options["plots"], summary)
        lines |= dict.fromkeys(damaged)
        for file in filter(None, (into, summary)):
            click.echo(f"{file}: {count} table{'s' * (count != 1)}")
    tell(list(lines))
    sys.exit(1 if lines else 0)


def _store(runs: Sequence[Path], to: Path, allow_dirty: bool, allow_missing: bool) -> list[str]:
    from lstmbench.publish.merge import publish as merge

    outcome = merge(runs, to, allow_dirty, allow_missing)
    click.echo(
        f"{to}: {len(outcome.entries)} records; files written: {outcome.written}, "
        f"removed: {outcome.removed}"
    )
    empty = (
        []
        if outcome.entries or outcome.damaged
        else [f"{', '.join(map(str, runs))}: no record yet"]
    )
    return [*empty, *outcome.damaged, *outcome.problems]


def _bundle(
    paths: Sequence[Path],
    bundle: Path,
    allow_dirty: bool,
    allow_missing: bool,
    signer: Service | None,
) -> list[str]:
    from lstmbench.publish import signing
    from lstmbench.publish.gather import check_clean, check_shards, gather
    from lstmbench.records.bundle import make_bundle
    from lstmbench.records.store import write_atomically

    damaged: list[str] = []
    entries = gather(paths, damaged)
    check_clean(entries, entries if allow_dirty else ())
    check_shards(entries, (), allow_missing)
    content = make_bundle({name: entry.content for name, entry in entries.items()})
    signature = signing.sign(content, signer) if signer else None
    try:
        write_atomically(bundle, content)
        if signature:
            write_atomically(signing.signature_of(bundle), signature)
    except OSError as error:
        raise UserError(f"--bundle {bundle}: {error.strerror or error}") from error
    click.echo(f"{bundle}: {len(entries)} records{', signed' if signature else ''}")
    return damaged


@hookimpl
def lstmbench_commands() -> list[click.Command]:
    return [publish]
