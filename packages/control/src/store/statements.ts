import type { Database, Statement } from "./database.ts";

const sql = {
  cluster: "SELECT cluster FROM cluster",
  lastRevision: "SELECT revision, tag FROM revision ORDER BY revision DESC LIMIT 1",
  revision: "SELECT tag FROM revision WHERE revision = ?",
  revisionsAfter: "SELECT revision, author, at FROM revision WHERE revision > ? ORDER BY revision LIMIT ?",
  addRevision: "INSERT INTO revision (revision, tag, author, at) VALUES (?, ?, ?, ?)",
  addHistory:
    "INSERT INTO history (revision, position, kind, subject, before, after) VALUES (?, ?, ?, ?, ?, ?)",
  historyBetween: `SELECT revision, kind, subject, before, after FROM history WHERE revision > ? AND revision <= ?
    ORDER BY revision, position`,
  historyBackwards:
    "SELECT kind, subject, before, after FROM history WHERE revision > ? ORDER BY revision DESC, position DESC",
  datasets: "SELECT value FROM dataset ORDER BY position",
  dataset: "SELECT value FROM dataset WHERE dataset = ?",
  addDataset: "INSERT INTO dataset (dataset, value) VALUES (?, ?)",
  setDataset: "UPDATE dataset SET value = ? WHERE dataset = ?",
  leases: "SELECT value FROM lease ORDER BY dataset",
  lease: "SELECT value FROM lease WHERE dataset = ?",
  putLease:
    "INSERT INTO lease (dataset, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  removeLease: "DELETE FROM lease WHERE dataset = ?",
  containers: "SELECT value FROM container ORDER BY name",
  container: "SELECT value FROM container WHERE name = ?",
  putContainer:
    "INSERT INTO container (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
  removeContainer: "DELETE FROM container WHERE name = ?",
  ownerships: "SELECT dataset, term, step, owner, born, since FROM ownership",
  ownership: "SELECT dataset, term, step, owner, born, since FROM ownership WHERE dataset = ?",
  addOwnership: "INSERT INTO ownership (dataset, term, step, owner, born, since) VALUES (?, ?, ?, ?, ?, ?)",
  setOwnership: "UPDATE ownership SET term = ?, step = ?, owner = ?, born = ?, since = ? WHERE dataset = ?",
  nodes: "SELECT value FROM node ORDER BY node",
  putNode: "INSERT INTO node (node, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
} as const;

export type Statements = Readonly<Record<keyof typeof sql, Statement>>;

/** Prepares all statements once; SQLite keeps what it has compiled. */
export function prepareStatements(database: Database): Statements {
  const entries = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)] as const);
  return Object.fromEntries(entries) as Statements;
}
