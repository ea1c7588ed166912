// Rewrites the selection as the user chooses or says. The server makes the edit; here it is only asked for.
import * as vscode from "vscode";
import { ExecuteCommandRequest, type LanguageClient } from "vscode-languageclient/node";
import { offers } from "./client";
import type { Server } from "./server";
import { refused } from "./words";

const COMMAND = "midspan.rewrite";
const REFILL = "refactor.rewrite.midspan.refill";
const LIGHTLY = "refactor.rewrite.midspan.lightly";

/** How the server is to rewrite: one of its kinds, or what is wanted in words. */
type Way = { kind: string } | { instruction: string };

export function canRewrite(client: LanguageClient | undefined): boolean {
    return client !== undefined && offers(client, COMMAND);
}

export async function rewriteSelection(server: Server): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor || editor.selection.isEmpty) {
        void vscode.window.showInformationMessage("Select the code that Midspan should rewrite.");
        return;
    }
    const { client } = server;
    if (!client) {
        void vscode.window.showWarningMessage("Midspan's server is not running; the status bar says why.");
        return;
    }
    if (!canRewrite(client)) {
        void vscode.window.showWarningMessage("This version of Midspan's server cannot rewrite code.");
        return;
    }
    const { document, selection } = editor;
    const version = document.version;
    const way = await chosen(server.followsInstructions);
    if (!way) {
        return;
    }
    const argument = {
        uri: client.code2ProtocolConverter.asUri(document.uri),
        // The server has seen every change there is, and refuses one of another version.
        version,
        range: client.code2ProtocolConverter.asRange(selection),
        ...way,
    };
    try {
        // The server shows its progress, and what cancels it there ends the request.
        await client.sendRequest(ExecuteCommandRequest.type, { command: COMMAND, arguments: [argument] });
    } catch (error) {
        const reason = refused(error);
        if (reason) {
            void vscode.window.showInformationMessage(`Midspan: ${reason}.`);
        }
    }
}

/** What the user wants; undefined when it is dismissed. Instructions are offered where the model follows them. */
async function chosen(instructed: boolean): Promise<Way | undefined> {
    const ways: (vscode.QuickPickItem & { way?: Way })[] = [
        { label: "Write it anew", description: "all of it", way: { kind: REFILL } },
        { label: "Rewrite it lightly", description: "what the model doubts most", way: { kind: LIGHTLY } },
    ];
    if (instructed) {
        ways.unshift({ label: "As you say…", description: "in a sentence" });
    }
    const choice = await vscode.window.showQuickPick(ways, { title: "Rewrite the selection", ignoreFocusOut: true });
    if (!choice || choice.way) {
        return choice?.way;
    }
    const instruction = await vscode.window.showInputBox({
        title: "Rewrite the selection",
        prompt: "What should change?",
        placeHolder: "use a context manager",
        ignoreFocusOut: true,
    });
    return instruction?.trim() ? { instruction: instruction.trim() } : undefined;
}
