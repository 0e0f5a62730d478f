"""A stand-in for Notion: it enforces what Notion does, counts calls, misbehaves when told.

A test starts it in-process and holds the world for direct assertions::

    app = create_app(clock=clock, seed=7)             # cloud_broker.sandbox.app
    world = app[WORLD]                                # also app[CALLS], app[FAULTS]
    async with TestServer(app) as server:             # aiohttp.test_utils
        token = grants.mint(world, seed.MIRA, seed.WORKSPACE).access
        ...
        page = world.nodes[seed.READING_LIST]
        texts = [world.nodes[child].body for child in page.children]

or makes its own ``World(clock)``, plants it with ``seed.plant`` or not, and passes it in. Over HTTP
the same can be had under ``/_sandbox`` (docs/sandbox.md). It shares nothing with the broker but
``cloud_broker.clock``.
"""
