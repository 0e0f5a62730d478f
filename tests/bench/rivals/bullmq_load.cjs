// Enqueue through BullMQ: SOCKET SIZE CLIENTS COUNT; prints latencies and the whole time, in seconds.
// NODE_PATH leads to bullmq. Nothing of this project is loaded.
"use strict";
const { Queue } = require("bullmq");
const IORedis = require("ioredis");

async function main(socket, size, clients, count) {
  const open = () => {
    const connection = new (IORedis.Redis || IORedis)({ path: socket, maxRetriesPerRequest: null });
    return new Queue("clips", { connection });
  };
  const queues = Array.from({ length: clients }, open);
  await Promise.all(queues.map((queue) => queue.waitUntilReady()));
  const body = "x".repeat(size);
  const found = [];
  let left = count;
  const now = () => Number(process.hrtime.bigint()) / 1e9;
  const begun = now();
  await Promise.all(
    queues.map(async (queue) => {
      while (left-- > 0) {
        const from = now();
        await queue.add("clip", { body });
        found.push(now() - from);
      }
    }),
  );
  console.log(JSON.stringify([found, now() - begun]));
  process.exit(0);
}

main(process.argv[2], ...process.argv.slice(3, 6).map(Number));
