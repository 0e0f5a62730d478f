// Notion's own SDK, unmodified, against whatever speaks for Notion at NOTION_URL.
//
//   NOTION_URL=http://127.0.0.1:8787/api/notion/proxy NOTION_TOKEN=… SANDBOX_URL=… node walk.js STEP…
//
// Each step throws when something is not as the SDK's users expect it. What was done is printed
// as one line of JSON. SANDBOX_URL is the sandbox Notion behind it, whose seed world is read here.

import assert from "node:assert/strict"
import {
  APIErrorCode,
  APIResponseError,
  Client,
  collectPaginatedAPI,
  isFullBlock,
  isFullPage,
} from "@notionhq/client"

const { NOTION_URL, NOTION_TOKEN, SANDBOX_URL } = process.env
const AT_ONCE = { initialRetryDelayMs: 1, maxRetryDelayMs: 1 }

function client(options = {}) {
  const quiet = { logger: () => {} }
  return new Client({ auth: NOTION_TOKEN, baseUrl: NOTION_URL, retry: AT_ONCE, ...quiet, ...options })
}

async function sandbox(method, path, body) {
  const asked = { method, body: body && JSON.stringify(body) }
  const answer = await fetch(`${SANDBOX_URL}/_sandbox/${path}`, asked)
  assert.ok(answer.ok, `${method} ${path}: ${answer.status}`)
  return answer.json()
}

const APPEND = "PATCH /v1/blocks/{id}/children"
const paragraph = text => ({ paragraph: { rich_text: [{ text: { content: text } }] } })
const title = text => [{ text: { content: text } }]

async function texts(notion, block_id) {
  const blocks = await collectPaginatedAPI(notion.blocks.children.list, { block_id, page_size: 2 })
  return blocks.map(block => block.paragraph.rich_text.map(run => run.plain_text).join(""))
}

async function freshPage(notion) {
  const [home] = (await notion.search({ query: "Home", filter: only("page") })).results
  const properties = { title: { title: title("Made by the SDK") } }
  return notion.pages.create({ parent: { page_id: home.id }, properties })
}

const only = value => ({ property: "object", value })

async function refusal(promise, code) {
  const error = await promise.then(() => assert.fail("not refused"), caught => caught)
  assert.ok(APIResponseError.isAPIResponseError(error), `${error.name}: ${error.message}`)
  assert.equal(error.code, code)
  return error
}

const steps = {
  async reads() {
    const notion = client()
    const found = await collectPaginatedAPI(notion.search, { page_size: 5 })
    assert.ok(found.length > 5)
    assert.equal(new Set(found.map(item => item.id)).size, found.length)
    const [long] = (await notion.search({ query: "Long", filter: only("page") })).results
    const page = await notion.pages.retrieve({ page_id: long.id })
    assert.ok(isFullPage(page))
    const blocks = await collectPaginatedAPI(notion.blocks.children.list, { block_id: page.id })
    assert.equal(blocks.length, 450)
    assert.ok(blocks.every(isFullBlock))
    assert.equal(blocks[0].archived, false) // the SDK speaks 2025-09-03
    const me = await notion.users.me({})
    assert.equal(me.type, "bot")
  },

  async writes() {
    const notion = client()
    const { id } = await freshPage(notion)
    const append = (children, where) =>
      notion.blocks.children.append({ block_id: id, children, ...where })
    const { results } = await append([paragraph("1"), paragraph("4")], {})
    const after = results[0].id
    await append([paragraph("2")], { after })
    await append([paragraph("0")], { position: { type: "start" } })
    await append([paragraph("1.5")], { position: { type: "after_block", after_block: { id: after } } })
    assert.deepEqual(await texts(notion, id), ["0", "1", "1.5", "2", "4"])
    const gone = await notion.blocks.delete({ block_id: after })
    assert.equal(gone.archived, true)
    await notion.blocks.update({ block_id: after, archived: false })
    assert.equal((await texts(notion, id))[1], "1")
    const icon = { type: "emoji", emoji: "🌻" }
    assert.equal((await notion.pages.update({ page_id: id, icon })).icon.emoji, "🌻")
    assert.equal((await notion.pages.update({ page_id: id, in_trash: true })).archived, true)
  },

  async databases() {
    const notion = client()
    const [source] = (await notion.search({ filter: only("data_source") })).results
    const database = await notion.databases.retrieve({ database_id: source.parent.database_id })
    assert.deepEqual(database.data_sources.map(each => each.id), [source.id])
    const query = { data_source_id: source.id, page_size: 4 }
    const rows = await collectPaginatedAPI(notion.dataSources.query, query)
    const { properties } = await notion.dataSources.retrieve({ data_source_id: source.id })
    const [name] = Object.keys(properties).filter(key => properties[key].type === "title")
    const made = { [name]: { title: title("A row") } }
    for (const parent of [{ data_source_id: source.id }, { database_id: database.id }]) {
      const row = await notion.pages.create({ parent, properties: made })
      assert.equal(row.parent.data_source_id, source.id)
    }
    assert.equal((await collectPaginatedAPI(notion.dataSources.query, query)).length, rows.length + 2)
  },

  async uploads() {
    const notion = client()
    const { id: block_id } = await freshPage(notion)
    const one = await notion.fileUploads.create({ mode: "single_part", filename: "a.txt" })
    const file = { filename: "a.txt", data: new Blob(["hello"], { type: "text/plain" }) }
    const sent = await notion.fileUploads.send({ file_upload_id: one.id, file })
    assert.equal(sent.status, "uploaded")
    const told = { mode: "multi_part", filename: "b.txt", number_of_parts: 2 }
    const two = await notion.fileUploads.create({ ...told, content_type: "text/plain" })
    for (const part_number of ["1", "2"]) {
      await notion.fileUploads.send({ file_upload_id: two.id, file, part_number })
    }
    const done = await notion.fileUploads.complete({ file_upload_id: two.id })
    assert.equal(done.content_length, 10)
    const attached = ({ id }) => ({ file: { type: "file_upload", file_upload: { id } } })
    const children = [one, two].map(attached)
    const { results } = await notion.blocks.children.append({ block_id, children })
    assert.equal(await (await fetch(results[1].file.file.url)).text(), "hellohello")
  },

  async refusals() {
    const notion = client()
    const { id } = await freshPage(notion)
    await refusal(client({ auth: "ended" }).users.me({}), APIErrorCode.Unauthorized)
    const page_id = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
    await refusal(notion.pages.retrieve({ page_id }), APIErrorCode.ObjectNotFound)
    const children = [{ type: "no_such_block" }]
    const bad = notion.blocks.children.append({ block_id: id, children })
    await refusal(bad, APIErrorCode.ValidationError)
  },

  async the_table() {
    await refusal(client().users.list({}), APIErrorCode.InvalidRequestURL)
  },

  async overload() {
    const notion = client({ retry: false })
    const { id: block_id } = await freshPage(notion)
    await sandbox("POST", "faults", { kind: "529", route: APPEND, params: { retry_after: 60 } })
    const children = [paragraph("x")]
    const write = notion.blocks.children.append({ block_id, children })
    const error = await refusal(write, APIErrorCode.ServiceOverload)
    assert.equal(error.headers.get("Retry-After"), "60")
    await sandbox("DELETE", "faults")
  },

  async retries() {
    // Whatever becomes of a write, the SDK's own retries never send it twice.
    const notion = client()
    for (const kind of ["5xx_after", "drop_after", "garbage", "5xx_before", "drop_before"]) {
      const { id } = await freshPage(notion)
      await sandbox("DELETE", "calls")
      await sandbox("POST", "faults", { kind, route: APPEND, on: [1] })
      const children = [paragraph("once")]
      const write = notion.blocks.children.append({ block_id: id, children })
      await refusal(write, APIErrorCode.GatewayTimeout)
      assert.equal((await sandbox("GET", "calls")).by_route[APPEND], 1, kind)
      await sandbox("DELETE", "faults")
      const applied = ["5xx_before", "drop_before"].includes(kind) ? [] : ["once"]
      assert.deepEqual(await texts(notion, id), applied, kind)
    }
    for (const kind of ["429", "529", "committed_503"]) {
      const { id } = await freshPage(notion)
      const params = kind === "committed_503" ? {} : { retry_after: 0 }
      await sandbox("POST", "faults", { kind, route: APPEND, on: [1], params })
      await notion.blocks.children.append({ block_id: id, children: [paragraph("once")] })
      await sandbox("DELETE", "faults")
      assert.deepEqual(await texts(notion, id), ["once"], kind)
    }
  },

  async versions() {
    const [page] = (await client().search({ filter: only("page") })).results
    const newest = client({ notionVersion: "2026-03-11" })
    const shown = await newest.pages.retrieve({ page_id: page.id })
    assert.deepEqual([shown.in_trash, "archived" in shown], [false, false])
    const oldest = client({ notionVersion: "2022-06-28" })
    const [table] = (await oldest.search({ filter: only("database") })).results
    assert.equal(table.object, "database")
    const database = await oldest.databases.retrieve({ database_id: table.id })
    assert.deepEqual(Object.keys(database.properties), Object.keys(table.properties))
    const rows = await oldest.request({ path: `databases/${table.id}/query`, method: "post", body: {} })
    assert.equal(rows.results[0].parent.database_id, table.id)
  },
}

const names = process.argv.slice(2)
for (const name of names) {
  assert.ok(steps[name], `no step ${name}`)
  await steps[name]()
}
console.log(JSON.stringify({ node: process.version, done: names }))
