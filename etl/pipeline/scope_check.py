"""What a run can see, against what the last one saw: whose the key is, and which scopes are new."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from etl.errors import AccessDenied, RequestRejected
from etl.extract.pages import PageReader, body_of, remembering, single
from etl.json_text import json_text
from etl.load.scope import Credential, is_silence, scope_of
from etl.load.scope_store import StoredScope
from etl.pipeline.job import Job
from etl.providers.kit import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes:
    """Stream -> its scope in this run, and in the last whole one."""

    now: Mapping[str, StoredScope] = field(default_factory=dict)
    before: Mapping[str, StoredScope] = field(default_factory=dict)

    def is_new(self, stream: str) -> bool:
        """Whether the stream was read in another scope before."""
        old = self.before.get(stream)
        return old is not None and old.scope != self.now[stream].scope


def known_identity(job: Job, before: Mapping[str, StoredScope]) -> str | None:
    """Whose the key is, where an earlier run has asked; None for a new key."""
    known = (scope.credential for scope in before.values())
    return next((one.identity for one in known if one.key == job.key), None)


def asked_identity(
    job: Job, reader: PageReader, learn: Callable[[Json], None] | None
) -> tuple[str, PageReader]:
    """A digest of what the provider says the key belongs to; the key's own where it says nothing.

    learn: takes the answer; None where the provider says nothing.
    The answer is remembered by the reader that comes back: some ask the same of a stream.
    """
    whoami = job.provider.whoami
    learn = learn or (lambda _body: None)
    if whoami is None:
        return job.key, reader
    try:
        answer = single(reader.fetch)(replace(whoami, alone=True))
        body = body_of(reader, "", whoami, answer)
    except (AccessDenied, RequestRejected) as error:
        if not is_silence(error):
            raise
        learn(None)
        return job.key, reader
    learn(body)
    said = job.provider.identity(body)
    identity = job.key if said is None else reader.fingerprint(json_text(said))
    return identity, remembering(reader, whoami, answer)


def scopes_of(job: Job, identity: str, before: Mapping[str, StoredScope]) -> Scopes:
    """The scope of every stream of a run."""
    credential = Credential(key=job.key, identity=identity)
    return Scopes(
        now={
            stream.name: StoredScope(
                scope=scope_of(job.provider, stream, job.options, job.base_url, identity),
                credential=credential,
            )
            for stream in job.streams
        },
        before=before,
    )
