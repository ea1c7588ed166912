// Puts the parts together. What each does is in the file of its name.
import { homedir } from "node:os";
import * as vscode from "vscode";
import { registerCommands } from "./commands";
import { environmentFolders, onEnvironmentChange } from "./environment";
import { Installer } from "./install";
import { type Command, locate } from "./locate";
import { chosenOptions, forgets, SECTION } from "./options";
import { canRewrite } from "./rewrite";
import { Server } from "./server";
import { Snooze } from "./snooze";
import { StatusItem } from "./statusItem";

let server: Server | undefined;

export function activate(context: vscode.ExtensionContext): void {
    const log = vscode.window.createOutputChannel("Midspan", { log: true });
    const snooze = new Snooze();
    const installer = new Installer(context.globalState);
    const options = () => chosenOptions(context.extension);
    const running = (server = new Server(find, log, {
        options,
        silent: () => snooze.active,
    }));
    const parts = { server: running, snooze, installer, log, find };

    context.subscriptions.push(
        log,
        snooze,
        running,
        new StatusItem(running, snooze),
        ...registerCommands(parts),
        running.onDidChange(({ kind }) => {
            const { client } = running;
            void vscode.commands.executeCommand("setContext", "midspan.running", client !== undefined);
            void vscode.commands.executeCommand("setContext", "midspan.canRewrite", canRewrite(client));
            if (kind === "missing") {
                void installer.offer();
            }
        }),
        running.onDidFail((reason) => void complain(reason)),
        vscode.workspace.onDidChangeConfiguration((event) => {
            const before = running.options;
            if (event.affectsConfiguration(`${SECTION}.enable`)) {
                void (enabled() ? running.start() : running.stop());
            } else if (
                event.affectsConfiguration(`${SECTION}.server`) ||
                (event.affectsConfiguration(SECTION) && before && forgets(before, options()))
            ) {
                restartIfEnabled();
            }
        }),
        vscode.workspace.onDidGrantWorkspaceTrust(restartIfEnabled),
        // It may have been installed meanwhile; looking again costs nothing.
        vscode.window.onDidChangeActiveTextEditor(startIfMissing),
        vscode.window.onDidCloseTerminal(startIfMissing),
    );
    void onEnvironmentChange(restartIfEnabled).then((listener) => {
        if (listener) {
            context.subscriptions.push(listener);
        }
    });
    if (enabled()) {
        void running.start();
    }

    function restartIfEnabled(): void {
        if (enabled()) {
            void running.restart();
        }
    }

    function startIfMissing(): void {
        if (running.state.kind === "missing" && enabled()) {
            void running.start();
        }
    }
}

export async function deactivate(): Promise<void> {
    await server?.stop();
}

function enabled(): boolean {
    return vscode.workspace.getConfiguration(SECTION).get("enable", true);
}

async function find(): Promise<Command | null> {
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    return locate({
        configured: vscode.workspace.getConfiguration(`${SECTION}.server`).get<string[]>("command", []),
        environments: await environmentFolders(),
        home: homedir(),
        variables: process.env,
        platform: process.platform,
        workspaceFolder: folder?.scheme === "file" ? folder.fsPath : undefined,
    });
}

async function complain(reason: string): Promise<void> {
    const choice = await vscode.window.showErrorMessage(`Midspan: ${reason}`, "Restart", "Run Doctor", "Show Log");
    const commands: Record<string, string> = {
        Restart: "midspan.restartServer",
        "Run Doctor": "midspan.runDoctor",
        "Show Log": "midspan.showLog",
    };
    const command = choice && commands[choice];
    if (command) {
        await vscode.commands.executeCommand(command);
    }
}
