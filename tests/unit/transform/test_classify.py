"""A page against what is stored."""

from etl.model import Reject
from etl.providers.kit import Json, Partition
from etl.transform.canonical import content_of, hash_of
from etl.transform.classify import Head, compare, named_items
from tests.unit.builders import LD_LAYERS, LD_PROJECTS, PARTITION, STATSIG_LAYERS, layer, project

ALL = Partition()
ID = "Homepage Feed"


def head(item, *, row_id=7, deleted=False):
    digest = hash_of(content_of(item, STATSIG_LAYERS))
    return Head(row_id, digest, deleted)


def outcome(item, stored=None, partition=ALL):
    heads = {} if stored is None else {("", ID): stored}
    return compare([(ID, item)], heads, STATSIG_LAYERS, partition)


def test_an_unknown_item_is_created():
    assert [staged.operation for staged in outcome(layer()).staged] == ["created"]


def test_a_created_row_has_no_row_id_yet():
    assert outcome(layer()).staged[0].row_id is None


def test_an_item_with_its_stored_hash_is_unchanged():
    assert outcome(layer(), head(layer())).unchanged == 1


def test_an_unchanged_item_stages_nothing():
    assert outcome(layer(), head(layer())).staged == []


def test_an_unchanged_item_is_met():
    assert outcome(layer(), head(layer())).met == [7]


def test_an_item_with_another_hash_is_updated():
    found = outcome(layer(description="new"), head(layer()))
    assert [staged.operation for staged in found.staged] == ["updated"]


def test_an_updated_row_keeps_its_row_id():
    assert outcome(layer(description="new"), head(layer())).staged[0].row_id == 7


def test_an_updated_row_is_met():
    assert outcome(layer(description="new"), head(layer())).met == [7]


def test_a_deleted_row_that_is_back_is_restored():
    found = outcome(layer(), head(layer(), deleted=True))
    assert [staged.operation for staged in found.staged] == ["restored"]


def test_a_deleted_row_that_is_back_is_no_live_row_met():
    assert outcome(layer(), head(layer(), deleted=True)).met == []


def test_a_rejected_item_keeps_its_row_met():
    assert outcome(layer(idType=None), head(layer())).met == [7]


def test_a_rejected_item_stages_nothing():
    assert outcome(layer(idType=None), head(layer())).staged == []


def test_a_rejected_item_is_a_reject_with_its_id():
    assert outcome(layer(idType=None), head(layer())).rejects[0].external_id == ID


def test_a_rejected_item_is_not_counted_as_unchanged():
    assert outcome(layer(idType=None), head(layer())).unchanged == 0


def test_a_record_of_another_project_is_another_record():
    found = outcome(layer(), head(layer()), PARTITION)
    assert [staged.operation for staged in found.staged] == ["created"]


def test_a_staged_row_keeps_the_item_as_it_came():
    item = layer(tags=["b", "a"])
    assert outcome(item).staged[0].raw == item


def test_items_come_with_their_ids():
    named, _ = named_items([project(), project(_id="b")], LD_PROJECTS)
    assert [external_id for external_id, _ in named] == ["57be1db38b75bf0772d11383", "b"]


def test_items_without_ids_are_rejects():
    _, rejects = named_items([project(_id=None), "x", project()], LD_PROJECTS)
    assert [type(reject) for reject in rejects] == [Reject, Reject]


def test_why_and_where_an_item_is_rejected_is_told_in_few_letters():
    """The names are the vendor's, and may be as long as the item."""
    twice = [
        {"name": f"{'n' * 700}{n // 2}", "type": "string", "defaultValue": 1} for n in range(9)
    ]
    deep: Json = {"a" * 5000: {"reservations": [{}]}}
    rejects = [
        *outcome(layer(parameters=twice)).rejects,
        *compare(
            [("a", {"key": "a", "name": "", "createdAt": 1, "environments": deep})],
            {},
            LD_LAYERS,
            PARTITION,
        ).rejects,
    ]
    assert [len(one.reason) <= 201 and len(one.path) <= 2001 for one in rejects] == [True, True]
    assert "named twice" in rejects[0].reason
    assert rejects[1].path.startswith("environments.aaa")
