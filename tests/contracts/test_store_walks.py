"""Walks: how far a sync is with looking at everybody."""

from msgspec import structs


async def test_a_walk_goes_on_and_is_never_put_back_by_a_member_that_was_frozen(store):
    walks = store.walks
    frozen = await walks.get(await walks.ask("audiences.crm", "me", False, 1.0))
    await walks.advance(structs.replace(frozen, after="user:m", seen=2))
    await walks.advance(structs.replace(frozen, after="user:c", seen=1))
    assert (await walks.get(frozen.id)).after == "user:m"
    await walks.advance(structs.replace(frozen, after="user:z", seen=3))
    assert ((walk := await walks.get(frozen.id)).after, walk.seen) == ("user:z", 3)


async def test_a_walk_that_is_done_names_nobody_whoever_is_still_at_it(store):
    walks = store.walks
    frozen = await walks.get(await walks.ask("audiences.crm", "me", False, 1.0))
    await walks.finish(structs.replace(frozen, seen=3), 2.0)
    await walks.advance(structs.replace(frozen, after="user:ada", seen=1))
    assert ((walk := await walks.get(frozen.id)).after, walk.seen) == ("", 3)
