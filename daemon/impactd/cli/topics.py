"""``impactd topics``: make or check the topics, or list the rights that the service needs, also for Strimzi."""

from __future__ import annotations

from pathlib import Path

import click

from impactd.cli.common import Failure, example, load_settings, settings_options, translated


@click.group("topics", epilog=example("impactd topics create -c impactd.toml", "impactd topics check"))
def command() -> None:
    """Create or check the topics, or list the permissions needed."""


@command.command("create", epilog=example("impactd topics create --set topics.partitions=8"))
@settings_options
def create(config: Path | None, sets: tuple[str, ...]) -> None:
    """Create missing topics; existing ones are not changed."""
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.shell.kafka.topics import create_topics, topics_spec

    with translated():
        made = asyncio.run(create_topics(settings))
    for spec in topics_spec(settings):
        click.echo(f"{spec.name}  {'made' if spec.name in made else 'there already'}")


@command.command("check", epilog=example("impactd topics check -c impactd.toml"))
@settings_options
def check(config: Path | None, sets: tuple[str, ...]) -> None:
    """Compare the topics with the settings; exits with 1 if they differ."""
    settings = load_settings(config, sets).settings

    import asyncio

    from impactd.shell.kafka.topics import check_topics

    with translated():
        differences = asyncio.run(check_topics(settings))
    for difference in differences:
        click.echo(str(difference))
    if differences:
        raise Failure(f"{len(differences)} differences between the topics and the settings")
    click.echo("the topics are as the settings say")


@command.command("acls", epilog=example("impactd topics acls -c impactd.toml"))
@settings_options
def acls(config: Path | None, sets: tuple[str, ...]) -> None:
    """List the permissions that the service's principal needs, and why."""
    settings = load_settings(config, sets).settings

    from impactd.shell.kafka.topics import required_acls

    for acl in required_acls(settings):
        click.echo(f"{acl.resource:<16}  {acl.name:<40}  {', '.join(acl.operations):<22}  {acl.why}")


@command.command("strimzi", epilog=example("impactd topics strimzi -c impactd.toml --cluster kafka > topics.yaml"))
@click.option("--cluster", default="kafka", show_default=True, help="Name of the Kafka resource.")
@click.option("--user", default="impactd", show_default=True, help="Name of the service's KafkaUser.")
@settings_options
def strimzi(config: Path | None, sets: tuple[str, ...], *, cluster: str, user: str) -> None:
    """Write the topics and the service's user as Strimzi's resources, for Kubernetes."""
    settings = load_settings(config, sets).settings

    from impactd.shell.kafka.strimzi import strimzi_topics, strimzi_user, to_yaml

    click.echo(to_yaml([*strimzi_topics(settings, cluster), strimzi_user(settings, cluster, user)]), nl=False)
