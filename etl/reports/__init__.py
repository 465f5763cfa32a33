"""Answers: ready reports, exports of tables and views, the evidence of a time or a run."""
