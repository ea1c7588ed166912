// Rewrites the selection as the user says in a sentence. The server makes the edit; here it is only asked for.
import * as vscode from "vscode";
import { CancellationTokenSource, ExecuteCommandRequest, type LanguageClient } from "vscode-languageclient/node";
import { offers } from "./client";

const COMMAND = "midspan.rewrite";

export function canRewrite(client: LanguageClient | undefined): boolean {
    return client !== undefined && offers(client, COMMAND);
}

export async function rewriteSelection(client: LanguageClient | undefined): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!editor || editor.selection.isEmpty) {
        void vscode.window.showInformationMessage("Select the code that Midspan should rewrite.");
        return;
    }
    if (!client) {
        void vscode.window.showWarningMessage("Midspan's server is not running; the status bar says why.");
        return;
    }
    if (!canRewrite(client)) {
        void vscode.window.showWarningMessage("This version of Midspan's server cannot rewrite code from an instruction.");
        return;
    }
    const { document, selection } = editor;
    const version = document.version;
    const instruction = await vscode.window.showInputBox({
        title: "Rewrite the selection",
        prompt: "What should change?",
        placeHolder: "use a context manager",
        ignoreFocusOut: true,
    });
    if (!instruction?.trim()) {
        return;
    }
    if (document.version !== version) {
        void vscode.window.showWarningMessage("The text has changed meanwhile; nothing was rewritten.");
        return;
    }
    const params = {
        command: COMMAND,
        arguments: [
            {
                uri: client.code2ProtocolConverter.asUri(document.uri),
                range: client.code2ProtocolConverter.asRange(selection),
                instruction: instruction.trim(),
            },
        ],
    };
    const progress = { location: vscode.ProgressLocation.Notification, title: "Midspan is rewriting…", cancellable: true };
    await vscode.window.withProgress(progress, async (_, token) => {
        const stop = new CancellationTokenSource();
        token.onCancellationRequested(() => stop.cancel());
        try {
            await client.sendRequest(ExecuteCommandRequest.type, params, stop.token);
        } catch (error) {
            if (!token.isCancellationRequested) {
                const reason = error instanceof Error ? error.message : String(error);
                void vscode.window.showErrorMessage(`Midspan did not rewrite the selection: ${reason}`);
            }
        }
    });
}
