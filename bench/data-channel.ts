/*
 * How fast the data channel is, beside a bare TLS 1.3 pipe and a plain TCP pipe in the same run, and how much
 * memory it needs. Sender and receiver are processes of their own, fresh for each measurement; the ways take
 * turns, so that a machine that is busy for a while does not favour one of them. Arguments: MiB per
 * measurement, rounds.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp, createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { crc32 } from "node:zlib";
import { formatSize, need, success } from "@flocker/core";
import {
  dataChannelPeers,
  dataChannelServer,
  loadCredentials,
  silentLog,
  systemClock,
  tlsOptions,
} from "@flocker/host";
import type { CredentialFiles, Credentials } from "@flocker/host";
import { answeringNode, askingNode, receiveRequest } from "../packages/host/src/testing/data-channel-rig.ts";
import { makeTestCertificates } from "../packages/host/src/testing/test-certificates.ts";

type Way = "tcp" | "tls" | "tls-crc32" | "channel";

interface Task {
  readonly way: Way;
  readonly totalBytes: number;
  readonly files: CredentialFiles;
  /** For the sender. */
  readonly port?: number;
}

interface Measurement {
  readonly bytesPerSecond: number;
  readonly sender: Usage;
  readonly receiver: Usage;
}

/** What a process needed. */
interface Usage {
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

const chunkBytes = 1024 * 1024;
const labels: Readonly<Record<Way, string>> = {
  tcp: "plain TCP pipe",
  tls: "bare TLS 1.3 pipe",
  "tls-crc32": "bare TLS 1.3 pipe, CRC-32 on both ends",
  channel: "data channel",
};

function credentialsOf(files: CredentialFiles): Credentials {
  return need(loadCredentials(files));
}

async function* generated(totalBytes: number): AsyncGenerator<Uint8Array> {
  const chunk = randomBytes(chunkBytes);
  for (let sent = 0; sent < totalBytes; sent += chunk.length) yield chunk;
}

/** Starts what receives, and returns its port. Bare pipes answer one byte once they have it all. */
async function receive(task: Task): Promise<number> {
  if (task.way === "channel") {
    const server = await dataChannelServer({
      host: "127.0.0.1",
      port: 0,
      credentials: credentialsOf(task.files),
      handler: async (_from, _request, body) => {
        let receivedBytes = 0;
        for await (const chunk of body) receivedBytes += chunk.length;
        return success({ kind: "receive", receivedBytes });
      },
      log: silentLog,
      clock: systemClock,
    });
    return need(server).port;
  }
  const take = (socket: Socket): void => {
    let checksum = 0;
    let receivedBytes = 0;
    socket.on("data", (chunk: Buffer) => {
      if (task.way === "tls-crc32") checksum = crc32(chunk, checksum);
      receivedBytes += chunk.length;
      if (receivedBytes >= task.totalBytes) socket.end("!");
    });
  };
  const server: Server =
    task.way === "tcp"
      ? createTcpServer(take)
      : createTlsServer({ ...tlsOptions(credentialsOf(task.files)), requestCert: true }, take);
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function send(task: Task, port: number): Promise<void> {
  const host = "127.0.0.1";
  if (task.way === "channel") {
    const credentials = credentialsOf(task.files);
    const peers = dataChannelPeers({ credentials, log: silentLog, clock: systemClock });
    const abort = new AbortController().signal;
    const body = generated(task.totalBytes);
    need(await peers.ask({ node: answeringNode, host, port }, receiveRequest, { body, abort }));
    return;
  }
  let checksum = 0;
  const socket =
    task.way === "tcp"
      ? connectTcp({ host, port })
      : connectTls({
          host,
          port,
          ...tlsOptions(credentialsOf(task.files)),
          checkServerIdentity: () => undefined,
        });
  await once(socket, task.way === "tcp" ? "connect" : "secureConnect");
  const answered = once(socket, "data");
  for await (const chunk of generated(task.totalBytes)) {
    if (task.way === "tls-crc32") checksum = crc32(chunk, checksum);
    if (!socket.write(chunk)) await once(socket, "drain");
  }
  await answered;
  socket.destroy();
}

/** The part of the program that runs in a process of its own. */
async function child(role: string): Promise<void> {
  const [task] = (await once(process, "message")) as [Task];
  const before = process.cpuUsage();
  const usage = (): Usage => {
    const { user, system } = process.cpuUsage(before);
    return { cpuSeconds: (user + system) / 1e6, peakBytes: process.resourceUsage().maxRSS * 1024 };
  };
  if (role === "receiver") {
    process.send?.({ port: await receive(task) });
    await once(process, "message");
    process.send?.(usage());
  } else {
    const startedAt = performance.now();
    await send(task, task.port ?? 0);
    process.send?.({ seconds: (performance.now() - startedAt) / 1000, ...usage() });
  }
  process.disconnect();
  process.exit();
}

async function measure(way: Way, totalBytes: number): Promise<Measurement> {
  const certificates = makeTestCertificates();
  const start = (role: string): ChildProcess => fork(import.meta.filename, [role]);
  const receiver = start("receiver");
  receiver.send({ way, totalBytes, files: certificates.node(answeringNode) });
  const { port } = await answerOf<{ port: number }>(receiver);
  const sender = start("sender");
  sender.send({ way, totalBytes, files: certificates.node(askingNode), port });
  const sent = await answerOf<Usage & { seconds: number }>(sender);
  receiver.send("done");
  const received = await answerOf<Usage>(receiver);
  return { bytesPerSecond: totalBytes / sent.seconds, sender: sent, receiver: received };
}

async function answerOf<Answer>(process: ChildProcess): Promise<Answer> {
  const [message] = (await once(process, "message")) as [Answer];
  return message;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

function row(...cells: readonly string[]): void {
  const widths = [41, 13, 20, 15, 17];
  const aligned = cells.map((cell, index) =>
    index === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[index] ?? 0),
  );
  console.log(aligned.join(""));
}

async function main(mebibytes: number, rounds: number): Promise<void> {
  const ways: readonly Way[] = ["tcp", "tls", "tls-crc32", "channel"];
  const totalBytes = mebibytes * 1024 * 1024;
  const measurements = new Map<Way, Measurement[]>(ways.map((way) => [way, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const way of ways) measurements.get(way)?.push(await measure(way, totalBytes));
  }
  const rateOf = (way: Way): number =>
    median(measurements.get(way)?.map(({ bytesPerSecond }) => bytesPerSecond) ?? []);
  const cpuOf = (way: Way, end: "sender" | "receiver"): string => {
    const seconds = median(measurements.get(way)?.map((measurement) => measurement[end].cpuSeconds) ?? []);
    return `${((seconds * 1024) / mebibytes).toFixed(2)} s/GiB`;
  };
  console.log(
    `${formatSize(totalBytes)} of generated data between two processes, median of ${rounds} rounds`,
  );
  row("way", "throughput", "channel runs at", "sender's CPU", "receiver's CPU");
  for (const way of ways) {
    const share = `${((rateOf("channel") / rateOf(way)) * 100).toFixed(0)} % of it`;
    const rate = `${formatSize(rateOf(way))}/s`;
    row(labels[way], rate, way === "channel" ? "" : share, cpuOf(way, "sender"), cpuOf(way, "receiver"));
  }
  const large = await measure("channel", 2 * 1024 ** 3);
  console.log(
    `2 GiB through the channel: ${formatSize(large.bytesPerSecond)}/s, peak memory of the sender's process ` +
      `${formatSize(large.sender.peakBytes)}, of the receiver's ${formatSize(large.receiver.peakBytes)}`,
  );
}

const [first = "192", second = "3"] = process.argv.slice(2);
if (process.send !== undefined) await child(first);
else await main(Number(first), Number(second));
