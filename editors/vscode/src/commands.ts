// The commands of package.json, one line each, and the menu that offers them.
import * as vscode from "vscode";
import { runDoctor } from "./doctor";
import type { Installer } from "./install";
import type { Command } from "./locate";
import { SECTION } from "./options";
import { canRewrite, rewriteSelection } from "./rewrite";
import type { Server } from "./server";
import { MINUTES, type Snooze } from "./snooze";
import { describe } from "./state";
import { why } from "./why";

export interface Parts {
    readonly server: Server;
    readonly snooze: Snooze;
    readonly installer: Installer;
    readonly log: vscode.LogOutputChannel;
    readonly find: () => Promise<Command | null>;
}

/** ║ is where the cursor goes. */
const SAMPLE = `import json


class Settings:
    def __init__(self, path):
        self.path = path
        self.values = {}

    def load(self):
        with open(self.path) as file:
            self.values = json.load(file)

    def save(self):
        with open(║, "w") as file:
            json.dump(self.values, file)
`;

export function registerCommands(parts: Parts): vscode.Disposable[] {
    const { server, snooze, installer, log } = parts;
    const commands: Record<string, (...args: never[]) => unknown> = {
        "midspan.toggle": () => toggle(server),
        "midspan.snooze": (minutes?: number) => askSnooze(snooze, minutes),
        "midspan.wake": () => snooze.wake(),
        "midspan.rewriteSelection": () => rewriteSelection(server),
        "midspan.explain": async () => tell(await why(server, snooze)),
        "midspan.restartServer": () => server.restart(),
        "midspan.runDoctor": () => doctor(parts),
        "midspan.showLog": () => log.show(),
        "midspan.install": () => installer.choose(),
        "midspan.openSample": openSample,
        "midspan.showMenu": () => showMenu(parts),
    };
    return Object.entries(commands).map(([name, run]) => vscode.commands.registerCommand(name, run));
}

/** Changes the setting where it is set: in the workspace if it is set there, else for the user. */
async function toggle(server: Server): Promise<void> {
    const settings = vscode.workspace.getConfiguration(SECTION);
    const here = settings.inspect("enable")?.workspaceValue !== undefined;
    const target = here ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
    // Not the setting's opposite: the server may be off because of its own configuration file.
    await settings.update("enable", server.state.kind === "off", target);
}

async function askSnooze(snooze: Snooze, minutes?: number): Promise<void> {
    if (typeof minutes !== "number") {
        const items = MINUTES.map((value) => ({ label: `${value} minutes`, value }));
        minutes = (await vscode.window.showQuickPick(items, { placeHolder: "No suggestions for" }))?.value;
    }
    if (minutes && minutes > 0) {
        snooze.begin(minutes);
    }
}

async function doctor({ server, find, installer }: Parts): Promise<void> {
    let command = server.command ?? null;
    try {
        command ??= await find();
    } catch (error) {
        tell(`Midspan: ${error instanceof Error ? error.message : String(error)}.`);
        return;
    }
    await (command ? runDoctor(command) : installer.choose());
}

async function openSample(): Promise<void> {
    const document = await vscode.workspace.openTextDocument({ language: "python", content: SAMPLE.replace("║", "") });
    const editor = await vscode.window.showTextDocument(document);
    const gap = document.positionAt(SAMPLE.indexOf("║"));
    editor.selection = new vscode.Selection(gap, gap);
    await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
}

async function showMenu({ server, snooze }: Parts): Promise<void> {
    const { kind } = server.state;
    const items: (vscode.QuickPickItem & { command?: string })[] = [];
    const add = (icon: string, label: string, command: string) => items.push({ label: `$(${icon}) ${label}`, command });
    if (kind === "missing") {
        add("cloud-download", "Install the Server…", "midspan.install");
    }
    if (kind === "off") {
        add("bracket", "Turn Suggestions On", "midspan.toggle");
    } else {
        add("circle-slash", "Turn Suggestions Off", "midspan.toggle");
        if (snooze.active) {
            add("bell", "End Snooze", "midspan.wake");
        } else {
            add("bell-slash", "Snooze…", "midspan.snooze");
        }
    }
    if (canRewrite(server.client)) {
        add("edit", "Rewrite Selection…", "midspan.rewriteSelection");
    }
    add("question", "Why Was There No Suggestion?", "midspan.explain");
    items.push({ label: "", kind: vscode.QuickPickItemKind.Separator });
    add("pulse", "Run Doctor", "midspan.runDoctor");
    add("output", "Show Log", "midspan.showLog");
    add("debug-restart", "Restart Server", "midspan.restartServer");
    items.push({ label: "$(gear) Settings", command: "workbench.action.openSettings" });
    const choice = await vscode.window.showQuickPick(items, { title: `Midspan: ${describe(server.state)}` });
    if (choice?.command) {
        await vscode.commands.executeCommand(choice.command, ...(choice.label.endsWith("Settings") ? [SECTION] : []));
    }
}

function tell(sentences: string): void {
    void vscode.window.showInformationMessage(sentences, "Show Log").then((choice) => {
        if (choice) {
            void vscode.commands.executeCommand("midspan.showLog");
        }
    });
}
