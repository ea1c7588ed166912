// The server's life: found, started, watched, started again when it dies, stopped. One process at a time.
import { type ChildProcess, spawn } from "node:child_process";
import { homedir } from "node:os";
import { createInterface } from "node:readline";
import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import { Backoff, LIMIT } from "./backoff";
import { connect, type Hooks } from "./client";
import type { Command } from "./locate";
import type { Options } from "./options";
import type { State } from "./state";

const PATIENCE = 30_000; // milliseconds until `initialize` must be answered

/** One process with its client; `options` are what it was started with. */
interface Life {
    readonly command: Command;
    readonly process: ChildProcess;
    readonly client: LanguageClient;
    readonly options: Options;
    /** What it said last on its standard error. */
    lastWords: string;
    stopping: boolean;
}

export class Server implements vscode.Disposable {
    private readonly changed = new vscode.EventEmitter<State>();
    private readonly failed = new vscode.EventEmitter<string>();
    private readonly backoff = new Backoff();
    private readonly hooks: Hooks;
    private current: State = { kind: "off", message: "" };
    private life: Life | undefined;
    private retry: NodeJS.Timeout | undefined;
    private instructed = false;
    private queue: Promise<void> = Promise.resolve();

    readonly onDidChange = this.changed.event;
    /** It will not be started again by itself; a sentence says why. Fires once for each such end. */
    readonly onDidFail = this.failed.event;

    /** `find` says how to start it, or null where it is not installed; it throws what the user should hear. */
    constructor(
        private readonly find: () => Promise<Command | null>,
        private readonly log: vscode.LogOutputChannel,
        hooks: Omit<Hooks, "onState">,
    ) {
        this.hooks = { ...hooks, onState: (state) => this.enter(state) };
    }

    get state(): State {
        return this.current;
    }

    get command(): Command | undefined {
        return this.life?.command;
    }

    /** What it was told when it started; undefined while it does not run. */
    get options(): Options | undefined {
        return this.life?.options;
    }

    /** Whether the model that is, or was last, in memory does what it is told in words. */
    get followsInstructions(): boolean {
        return this.instructed;
    }

    /** The client, while the server answers. */
    get client(): LanguageClient | undefined {
        return this.life?.client.isRunning() ? this.life.client : undefined;
    }

    start(): Promise<void> {
        return this.enqueue(() => this.life ? Promise.resolve() : this.launch());
    }

    stop(): Promise<void> {
        return this.enqueue(() => this.end("off"));
    }

    /** Also forgets earlier deaths. */
    restart(): Promise<void> {
        return this.enqueue(async () => {
            this.backoff.forget();
            await this.end("starting");
            await this.launch();
        });
    }

    dispose(): void {
        clearTimeout(this.retry);
        this.life?.process.kill();
        this.changed.dispose();
        this.failed.dispose();
    }

    /** One thing after the other, whatever the user clicks. */
    private enqueue(work: () => Promise<void>): Promise<void> {
        clearTimeout(this.retry);
        this.queue = this.queue.then(work).catch((error: unknown) => this.fail(sentence(error)));
        return this.queue;
    }

    private async launch(): Promise<void> {
        this.enter({ kind: "starting", message: "" });
        const command = await this.find();
        if (!command) {
            this.log.warn("there is no midspan in the active Python environment, on PATH, or where pipx and uv put it");
            this.enter({ kind: "missing", message: "" });
            return;
        }
        this.log.info(`starting ${command.program} ${command.args.join(" ")} (from ${command.origin})`);
        const process = await spawned(command);
        const life: Life = {
            command,
            process,
            client: connect(process, this.log, this.hooks),
            options: this.hooks.options(),
            lastWords: "",
            stopping: false,
        };
        this.life = life;
        if (process.stderr) {
            createInterface({ input: process.stderr }).on("line", (line) => {
                life.lastWords = line.trim() || life.lastWords;
                this.log.info(line);
            });
        }
        process.once("exit", (code, signal) => this.died(life, signal ?? `code ${code}`));
        const late = setTimeout(() => process.kill("SIGKILL"), PATIENCE);
        try {
            await Promise.race([life.client.start(), ended(process)]);
        } catch (error) {
            this.log.error(`the server did not start: ${sentence(error)}`);
            process.kill(); // `died` says the rest
        } finally {
            clearTimeout(late);
        }
    }

    private async end(kind: "off" | "starting"): Promise<void> {
        const life = this.life;
        this.life = undefined;
        if (life) {
            life.stopping = true;
            await life.client.stop().catch(() => undefined); // the process goes either way
            life.process.kill();
            await life.client.dispose().catch(() => undefined);
        }
        this.enter({ kind, message: "" });
    }

    private died(life: Life, how: string): void {
        if (life.stopping || life !== this.life) {
            return;
        }
        this.life = undefined;
        this.log.error(`the server ended (${how})`);
        const wait = this.backoff.died(Date.now());
        if (wait === null) {
            const said = life.lastWords ? `: ${life.lastWords}` : "";
            this.fail(`the server ended ${LIMIT + 1} times in a row (${how})${said}`);
            return;
        }
        this.enter({ kind: "starting", message: "again, because the server ended unexpectedly" });
        this.retry = setTimeout(() => void this.start(), wait);
    }

    private fail(message: string): void {
        this.log.error(message);
        this.enter({ kind: "error", message });
        this.failed.fire(message);
    }

    private enter(state: State): void {
        if (state.kind === "ready") {
            this.instructed = state.instructions ?? false;
        }
        this.current = state;
        this.changed.fire(state);
    }
}

/** Resolves once the process runs. It starts in the home folder: never in whatever folder is open. */
function spawned(command: Command): Promise<ChildProcess> {
    const child = spawn(command.program, [...command.args, "--stdio"], { cwd: homedir(), windowsHide: true });
    child.stdin.on("error", () => undefined); // it died while being written to; its exit is reported
    return new Promise((resolve, reject) => {
        child.once("spawn", () => resolve(child));
        child.on("error", reject);
    });
}

async function ended(child: ChildProcess): Promise<never> {
    await new Promise((resolve) => child.once("exit", resolve));
    throw new Error("it ended before it was ready");
}

function sentence(error: unknown): string {
    return error instanceof Error ? error.message : String(error);
}
