"""The words of the seed world: pages as short outlines, so that they can be read at a glance.

A line is one block: ``# ``/``## ``/``### `` a heading, ``- `` a bullet, ``1. `` a number, ``[ ] ``
and ``[x] `` a to-do, ``> `` a quote, ``! `` a callout, ``+ `` a toggle, ``+# `` a toggle heading,
``---`` a divider, anything else a paragraph. Two spaces more of indent make a child.
"""

from __future__ import annotations

READING_LIST = """Things to read, and what was worth keeping. New finds go to the Inbox.
# Inbox
- The Art of Command Line
- Notes on distributed systems for young bloods
# Articles
## Long reads
- How complex systems fail
- A plea for lean software
## Short reads
- Falsehoods programmers believe about time
# Books
[ ] Designing Data-Intensive Applications
[x] The Mythical Man-Month
# Videos
- Simple made easy
# Archive
Finished things stay here for a year."""

MEETING_NOTES = """! Notes of the weekly sync. Newest on top.
# 2026-11-16
## Decisions
- Ship the clipper behind a flag
- Keep the old importer until January
## Actions
[ ] Mira: write the release note
[x] Jonas: measure the queue on a slow disk
# 2026-11-09
## Decisions
- One page per project, no more sub-teams in the tree"""

PROJECT = """A one-line goal, then what we know.
# Goal
Clip anything in one keystroke, and never lose it.
# Open questions
+ Which shortcut?
  Cmd-Shift-C is taken by the terminal.
  - Ask five people
+# Decisions so far
  1. Local first
  2. One daemon per person
# Log
Started in October."""

RECIPES = """> Cook once, eat twice.
# Soups
1. Onions, slowly
2. Stock
3. Bread
# Quick
- Pasta with garlic
- Eggs, any way"""

JOURNAL = """# Monday
Slept well. Long walk by the river.
# Tuesday
Rain. Wrote the outline."""

# (key, parent key, emoji, title, text or None for the one that is empty)
PAGES: tuple[tuple[str, str, str, str, str], ...] = (
    ("home", "", "🏠", "Home", "Welcome. Everything starts here.\n# Pinned\n# Elsewhere"),
    ("reading", "home", "📚", "Reading list", READING_LIST),
    ("inbox", "home", "📥", "Quick notes", "# Today\n# Someday"),
    ("empty", "home", "📄", "Empty page", ""),
    ("journal", "home", "📔", "Journal", JOURNAL),
    ("journal-oct", "journal", "🍂", "October", "# Week 40\nLeaves.\n# Week 41\nMore leaves."),
    ("journal-nov", "journal", "🌫️", "November", "# Week 45\nFog.\n# Week 46"),
    ("recipes", "home", "🍲", "Recipes", RECIPES),
    (
        "recipes-bread",
        "recipes",
        "🍞",
        "Bread",
        "# Starter\nFeed it daily.\n# Loaf\n1. Mix\n2. Wait\n3. Bake",
    ),
    ("recipes-cake", "recipes", "🍰", "Cakes", "# Lemon\n# Carrot"),
    ("travel", "home", "🧭", "Travel", "# Wishes\n- Lisbon in spring\n# Packing\n[ ] Charger"),
    ("travel-lisbon", "travel", "🚋", "Lisbon", "# Food\n# Walks\n# Places to stay"),
    ("travel-alps", "travel", "🏔️", "Alps hike", "# Route\n1. Valley\n2. Hut\n3. Pass\n# Gear"),
    ("work", "", "💼", "Work", "# Projects\n# People\n# Reference"),
    ("meetings", "work", "🗓️", "Meeting notes", MEETING_NOTES),
    ("clipper", "work", "📎", "Project Clipper", PROJECT),
    ("clipper-research", "clipper", "🔬", "Research", "# Findings\n# Sources"),
    ("clipper-design", "clipper", "✏️", "Design sketches", "# Screens\n# Wording"),
    ("clipper-launch", "clipper", "🚀", "Launch plan", "# Before\n# On the day\n# After"),
    ("handbook", "work", "📖", "Team handbook", "# How we work\n## Hours\n## Reviews\n# Tools"),
    (
        "onboarding",
        "handbook",
        "🌱",
        "Onboarding",
        "# First day\n[ ] Laptop\n[ ] Accounts\n# First week",
    ),
    ("glossary", "handbook", "🔤", "Glossary", "# A–F\n# G–M\n# N–Z"),
    ("long", "work", "📜", "Long page", ""),
    (
        "layouts",
        "work",
        "🧱",
        "Layouts",
        "# Columns\n# Tables\n# Twice\n## Notes\n# Twice\n## Notes",
    ),
    ("ideas", "", "💡", "Ideas", "# Raw\n# Ripe\n# Dropped"),
    ("ideas-app", "ideas", "📱", "App ideas", "# Small\n# Large"),
    ("ideas-talks", "ideas", "🎤", "Talks", "# Given\n# To give"),
    ("cafe", "ideas", "☕", "Café – naïve façade", "# Crème brûlée\n# Über uns\n# 日本語の見出し"),
    (
        "private",
        "",
        "🔒",
        "Private",
        "# Diary\nNot shared by default? It is; unshare it in a test.",
    ),
)
# Title, status, tags, date, words of the body.
ROWS: tuple[tuple[str, str, str, str], ...] = (
    ("Write the queue", "In progress", "code", "2026-11-20"),
    ("Draw the icon", "Not started", "design", "2026-11-24"),
    ("Interview five users", "Done", "research", "2026-11-03"),
    ("Publish the beta", "Not started", "launch", "2026-12-01"),
    ("Translate the menu", "Not started", "design", "2026-12-08"),
    ("Answer the forum", "In progress", "launch", "2026-11-22"),
)
