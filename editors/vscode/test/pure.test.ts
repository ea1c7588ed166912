// The parts that know nothing of VS Code, by themselves: `npm test`.
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Backoff } from "../src/backoff";
import { locate, type Places, programsOf } from "../src/locate";
import { asState } from "../src/state";
import { refused } from "../src/words";

const root = mkdtempSync(join(tmpdir(), "midspan-"));

/** An executable file; its folder. */
function program(...parts: string[]): string {
    const folder = join(root, ...parts);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "midspan"), "");
    chmodSync(join(folder, "midspan"), 0o755);
    return folder;
}

function places(given: Partial<Places>): Places {
    const nothing = { configured: [], environments: [], home: join(root, "nobody"), variables: {}, platform: "linux" } as const;
    return { ...nothing, workspaceFolder: undefined, ...given };
}

describe("the server is found", () => {
    const environment = program("env", "bin");
    const path = program("path");
    const home = join(root, "home");
    const pipx = program("home", ".local", "share", "pipx", "venvs", "midspan", "bin");

    test("in the active environment before PATH, and on PATH before pipx", async () => {
        const everywhere = { environments: [environment], variables: { PATH: path }, home };
        assert.equal((await locate(places(everywhere)))?.program, join(environment, "midspan"));
        assert.equal((await locate(places({ ...everywhere, environments: [] })))?.program, join(path, "midspan"));
        assert.equal((await locate(places({ home })))?.program, join(pipx, "midspan"));
    });

    test("where the user says, before all else, with the user's arguments", async () => {
        const configured = ["${workspaceFolder}/midspan", "--log-level", "info"];
        const found = await locate(places({ configured, workspaceFolder: path, environments: [environment] }));
        assert.deepEqual([found?.program, found?.args], [join(path, "midspan"), ["--log-level", "info"]]);
        assert.equal((await locate(places({ configured: ["midspan"], variables: { PATH: path } })))?.program, join(path, "midspan"));
    });

    test("nowhere, or the user hears that what they named is no program", async () => {
        assert.equal(await locate(places({})), null);
        await assert.rejects(locate(places({ configured: ["/nowhere/midspan"] })), /names \/nowhere\/midspan, which is no program/);
        await assert.rejects(locate(places({ configured: ["bin/midspan"] })), /no program/);
    });

    test("never through a relative entry of PATH, which would be the open folder's", async () => {
        process.chdir(path);
        assert.equal(await locate(places({ variables: { PATH: ".:" } })), null);
    });

    test("not when it is a folder or cannot be run", async () => {
        mkdirSync(join(root, "odd", "midspan"), { recursive: true });
        assert.equal(await locate(places({ environments: [join(root, "odd")] })), null);
        chmodSync(join(program("plain"), "midspan"), 0o644);
        assert.equal(await locate(places({ environments: [join(root, "plain")] })), null);
    });
});

test("an environment's programs are beside its Python, or in its folder", () => {
    assert.equal(programsOf("/env/bin/python3.12", "linux"), "/env/bin");
    assert.equal(programsOf("/env", "linux"), "/env/bin");
});

describe("a server that dies", () => {
    test("is started again, later each time, and a fifth time not at all", () => {
        const backoff = new Backoff();
        assert.deepEqual([0, 1, 2, 3, 4].map((now) => backoff.died(now)), [500, 1000, 2000, 4000, null]);
    });

    test("is forgiven after three minutes, or when the user says so", () => {
        const backoff = new Backoff();
        [0, 0, 0, 0].forEach((now) => backoff.died(now));
        assert.equal(backoff.died(180_000), 500);
        backoff.forget();
        assert.equal(backoff.died(180_001), 500);
    });
});

test("a state that is not known, or is none, is not taken for one", () => {
    assert.deepEqual(asState({ kind: "ready", message: "here" }), { kind: "ready", message: "here" });
    assert.deepEqual(asState({ kind: "error" }), { kind: "error", message: "" });
    for (const params of [null, undefined, 3, {}, { kind: 3 }, { kind: "dancing" }, { kind: "toString" }]) {
        assert.equal(asState(params), null);
    }
});

describe("why a rewrite was refused", () => {
    test("is said in the server's words, once a sentence", () => {
        assert.equal(refused(Object.assign(new Error("no better text was found"), { code: -32803 })), "no better text was found");
        assert.equal(refused(new Error("the connection is gone.")), "the connection is gone");
        assert.ok(refused(new Error("")));
    });

    test("is not said to who has cancelled it", () => {
        assert.equal(refused(Object.assign(new Error("cancelled"), { code: -32800 })), null);
    });
});

test("whether a model follows instructions is known when it says so, and not before", () => {
    assert.deepEqual(asState({ kind: "ready", message: "", instructions: true }), { kind: "ready", message: "", instructions: true });
    assert.deepEqual(asState({ kind: "ready", message: "", instructions: "yes" }), { kind: "ready", message: "" });
});
