"""A file that is sent piece by piece to a reader of whatever speed."""

import logging

from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import StreamingResponse
from starlette.types import Send

from etl.db.engine import store_error

log = logging.getLogger("etl.web")


class Download(StreamingResponse):
    """A streamed file. When the database fails midway the connection ends without an end mark.

    So the client sees that the file is not whole.
    """

    async def stream_response(self, send: Send) -> None:
        """Sends the pieces as the client takes them."""
        try:
            await super().stream_response(send)
        except SQLAlchemyError as error:
            log.error("download broke off: %s", store_error(error, "reading"))  # noqa: TRY400
