// Ten ordinary calls of an app, typed by the daemon's OpenAPI document without a cast.
// The test makes api.d.ts of clipperd/web/openapi.json and runs `tsc` on this file.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Schemas = components["schemas"];

const api = createClient<paths>({
  baseUrl: "http://127.0.0.1:49152",
  headers: { Authorization: "Bearer token" },
});

export async function signIn(): Promise<string> {
  const { data, error } = await api.POST("/v1/session/login", {
    body: { return: "app", purpose: "sign_in" },
  });
  if (error) {
    return error.hint ?? error.detail;
  }
  const done = await api.POST("/v1/session/callback", { body: { url: data.login_url } });
  return done.data?.user?.name ?? done.error?.code ?? "";
}

export async function session(): Promise<string> {
  const { data } = await api.GET("/v1/session");
  switch (data?.state) {
    case "signed_in":
      return `${data.user?.email} ${data.subscription?.tier} ${data.limits?.notion?.rate_per_s}`;
    case "reauth_required":
    case "signing_in":
    case "signed_out":
      return data.why ?? data.state;
    case undefined:
      return "";
  }
}

export async function search(text: string): Promise<string[]> {
  const { data } = await api.GET("/v1/pages", { params: { query: { q: text, limit: 5 } } });
  return (data?.items ?? []).map((page) => `${page.title} ${page.score ?? 0} ${page.icon?.type}`);
}

export async function outline(id: string): Promise<Schemas["Heading"][]> {
  const { data, error } = await api.GET("/v1/pages/{id}/outline", {
    params: { path: { id }, query: { freshness: "auto" } },
  });
  if (error?.code === "page_trashed") {
    return [];
  }
  return data?.headings ?? [];
}

const contents: Schemas["ContentObject"][] = [
  { format: "markdown", markdown: "# Hello", headings: "keep" },
  { format: "text", text: "Hello" },
  { format: "url", url: "https://example.org/", title: "Example" },
  { format: "blocks", blocks: [{ type: "divider", divider: {} }] },
];

const positions: Schemas["Position"][] = [
  { type: "end" },
  { type: "start", if_gone: "end_of_page" },
  { type: "after_heading", heading: { text: "Inbox", path: ["Later"] } },
  { type: "end_of_section", heading_id: "2b9e4c6a17d34f0b8e526a1d9c3f7b28" },
  { type: "after_block", block_id: "2b9e4c6a17d34f0b8e526a1d9c3f7b28" },
  { type: "inside", block_id: "2b9e4c6a17d34f0b8e526a1d9c3f7b28" },
];

export async function clip(pageId: string): Promise<Schemas["ClipView"] | undefined> {
  for (const content of contents) {
    await api.POST("/v1/clips", { body: { targets: [{ page_id: pageId }], content } });
  }
  const { data, error, response } = await api.POST("/v1/clips", {
    params: { header: { "Idempotency-Key": "note-1" } },
    body: {
      targets: positions.map((position) => ({ page_id: pageId, position })),
      content: contents,
      priority: "high",
      source: { app: "NotionClipper", url: "https://example.org/" },
    },
  });
  if (error?.code === "content_invalid") {
    console.warn(error.errors?.map((fault) => fault.pointer ?? fault.parameter));
  }
  console.info(response.headers.get("Idempotency-Replayed"));
  return data;
}

export async function newPage(parent: string): Promise<Schemas["State"] | undefined> {
  const { data } = await api.POST("/v1/clips", {
    body: {
      targets: [
        { new_page: { ref: "trip", parent: { page_id: parent }, title: "Trip" } },
        { page_ref: "trip", position: { type: "start" } },
      ],
      content: { format: "markdown", markdown: "# Packing" },
    },
  });
  return data?.state;
}

export function onEvent(event: Schemas["Event"]): string {
  switch (event.event) {
    case "snapshot":
      return `${event.data.status.connectivity.state} ${event.data.session.state}`;
    case "clip":
      return event.data.deliveries.map((each) => each.reason ?? each.state).join();
    case "status":
      return `${event.data.queue.eta_s ?? "unknown"}`;
    case "session":
      return event.data.state;
    case "pages":
    case "outline":
      return [...event.data.ids, ...event.data.removed].join();
    case "gap":
      return "";
  }
}

export async function listen(): Promise<ReadableStream<Uint8Array> | null | undefined> {
  const { data } = await api.GET("/v1/events", {
    params: { query: { types: "clip,status" }, header: { "Last-Event-ID": "7" } },
    parseAs: "stream",
  });
  return data;
}

export async function status(): Promise<string> {
  const { data } = await api.GET("/v1/status");
  if (data === undefined) {
    return "";
  }
  const { queue, index, push, secrets } = data;
  return `${queue.queued} ${queue.last_error?.code} ${index.count} ${push.state} ${secrets.mode}`;
}

export async function decide(view: Schemas["ClipView"]): Promise<Schemas["Action"][]> {
  const unknown = view.deliveries.filter((each) => each.reason === "outcome_unknown");
  const path = { clip_id: view.id };
  for (const { id: delivery_id } of unknown) {
    await api.POST("/v1/clips/{clip_id}/resolve", {
      params: { path },
      body: { as: "delivered", delivery_id },
    });
  }
  const undone = await api.POST("/v1/clips/{clip_id}/undo", { params: { path } });
  const left = undone.data?.deliveries.flatMap((each) => each.undo?.left ?? []);
  console.info(left?.map((block) => `${block.block_id}: ${block.why}`));
  await api.PATCH("/v1/clips/{clip_id}", {
    params: { path, header: { "If-Match": `${view.version}` } },
    body: { priority: "low" },
  });
  return view.deliveries.flatMap((each) => each.actions);
}

export async function settings(): Promise<number | undefined> {
  await api.PATCH("/v1/settings", { body: { log_level: "debug", content_days: 14, device: null } });
  const { data } = await api.GET("/v1/settings");
  return data?.settings.max_parallel_pages;
}

// A mistake is an error of the compiler:
// @ts-expect-error a heading is missing its position's type
positions.push({ heading_id: "x" });
// @ts-expect-error markdown content has no text
contents.push({ format: "markdown", text: "x" });
// @ts-expect-error there is no such state
export const state: Schemas["State"] = "lost";
