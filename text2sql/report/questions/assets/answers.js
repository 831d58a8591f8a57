// The questions of a run with the answers of one or two evaluations, loaded piece by piece and kept up to date.

import { get } from "./api.js";

const SIDES = ["a", "b"];

export class Answers {
  constructor(run, labels, clauses) {
    this.run = run;
    this.labels = labels;
    this.clauseNames = clauses;
    this.byId = new Map();
    this.rows = [];
    this.read = labels.map(() => ({ generation: 0, rows: [], problems: [], clauses: 0 }));
    this.stopped = new AbortController();
  }

  stop() {
    this.stopped.abort();
  }

  get sides() {
    return SIDES.slice(0, this.labels.length);
  }

  get problems() {
    return this.read.flatMap((side) => side.problems);
  }

  // What has been written since; `grown` is called after each piece. Whether there was anything.
  async update(place, grown) {
    const side = this.read[place];
    let changed = false;
    for (;;) {
      const page = await get(
        "answers",
        { run: this.run, label: this.labels[place], generation: side.generation, start: side.rows.length },
        this.stopped.signal,
      );
      if (page.generation !== side.generation) {
        this.forget(place);
        side.generation = page.generation;
        changed = true;
      }
      side.problems = page.problems;
      for (const values of page.rows) this.take(place, values);
      changed ||= page.rows.length > 0;
      if (page.rows.length) grown();
      if (page.done) return changed;
    }
  }

  take(place, [offset, id, question, gold, sql, correct, status, hardness, labels, cluster]) {
    let row = this.byId.get(id);
    if (!row) {
      row = { n: this.rows.length + 1, id, a: null, b: null, clauses: null };
      this.byId.set(id, row);
      this.rows.push(row);
    }
    if (place === 0 || !row.a) Object.assign(row, { question, gold, hardness, cluster });
    row[SIDES[place]] = { offset, sql, correct, status, labels };
    row.text = null;
    this.read[place].rows.push(id);
  }

  // The file was written anew: none of its answers is there any more.
  forget(place) {
    const side = this.read[place];
    for (const id of side.rows) {
      const row = this.byId.get(id);
      if (row) row[SIDES[place]] = null;
    }
    side.rows = [];
    side.clauses = 0;
    this.rows = this.rows.filter((row) => row.a || row.b);
    this.byId = new Map(this.rows.map((row) => [row.id, row]));
  }

  // The clauses of the gold queries, which take the server some time; `grown` after each piece.
  async readClauses(place, grown) {
    const side = this.read[place];
    while (side.clauses < side.rows.length) {
      const found = await get(
        "clauses",
        { run: this.run, label: this.labels[place], generation: side.generation, start: side.clauses },
        this.stopped.signal,
      );
      if (found.generation !== side.generation || !found.clauses.length) return;
      for (const places of found.clauses) {
        const row = this.byId.get(side.rows[side.clauses]);
        if (row) row.clauses = places.map((p) => this.clauseNames[p]);
        side.clauses += 1;
      }
      grown();
    }
  }
}

export function outcome(row, two) {
  if (!two) return row.a?.correct ? "right" : "wrong";
  if (!row.a || !row.b) return "one answer";
  if (row.a.correct) return row.b.correct ? "both right" : "lost";
  return row.b.correct ? "won" : "both wrong";
}
