"""Imitates Notion's API: enforces its rules, counts calls, and injects faults.

A test starts it in-process and holds the world for direct assertions::

    app = create_app(clock=clock, seed=7)             # cloud_broker.sandbox.app
    world = app[WORLD]                                # also app[CALLS], app[FAULTS]
    async with TestServer(app) as server:             # aiohttp.test_utils
        token = grants.mint(world, seed.MIRA, seed.WORKSPACE).access
        ...
        page = world.nodes[seed.READING_LIST]
        texts = [world.nodes[child].body for child in page.children]

or passes in its own ``World(clock)``, filled with ``seed.plant`` if wanted. The same functions are
available over HTTP under ``/_sandbox`` (docs/sandbox.md). Of the broker it uses only
``cloud_broker.clock``.
"""
