"""How a database would answer a query."""

from typing import Any

from sqlalchemy import Engine


def plan(engine: Engine, query: Any) -> str:
    """How the database would answer, when it may not read a table from end to end."""
    sqlite = engine.dialect.name == "sqlite"
    text = str(query.compile(engine, compile_kwargs={"literal_binds": True}))
    with engine.connect() as connection:
        if not sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if sqlite else "EXPLAIN"
        found = connection.exec_driver_sql(f"{explain} {text}").all()
    return "\n".join(str(row[-1]) for row in found)
