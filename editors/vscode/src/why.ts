// Says why there was no suggestion: the first thing between a key and ghost text that stood in the way. What became of
// a request the server knows best, and says in its own words.
import * as vscode from "vscode";
import { ExecuteCommandRequest, type LanguageClient } from "vscode-languageclient/node";
import { offers } from "./client";
import type { Server } from "./server";
import type { Snooze } from "./snooze";
import { describe } from "./state";

const COMMAND = "midspan.why";

/** What is used of the server's account of one request. */
interface Account {
    readonly outcome: string;
    readonly why: string;
    readonly seconds: number;
    /** How likely the best fill was right, 0 to 1; 0: there was none. */
    readonly confidence: number;
}

/** One to three sentences. */
export async function why(server: Server, snooze: Snooze): Promise<string> {
    const { state, client } = server;
    const document = vscode.window.activeTextEditor?.document;
    if (!client || state.kind === "off" || state.kind === "error" || state.kind === "loading") {
        return `Midspan is ${describe(state)}.`;
    }
    if (snooze.active) {
        return `Midspan is snoozing until ${snooze.until}.`;
    }
    if (!document) {
        return "There is no text editor in front.";
    }
    if (vscode.workspace.getConfiguration("editor", document).get("inlineSuggest.enabled") === false) {
        return "The setting editor.inlineSuggest.enabled turns all inline suggestions off here.";
    }
    if (!offers(client, COMMAND)) {
        return "This version of Midspan's server does not tell.";
    }
    const last = await lastRequest(client, document);
    if (!last) {
        return "VS Code has not asked for a suggestion in this file. It asks while you type.";
    }
    const took = `${Math.round(1000 * last.seconds)} ms`;
    if (last.outcome === "shown") {
        return `There was one: the last request was answered in ${took}. VS Code hides it when the cursor moves on.`;
    }
    const sure = last.confidence > 0 ? ` The best fill was ${Math.round(100 * last.confidence)} % likely to be right.` : "";
    return `${last.why}${sure} The last request took ${took}.`;
}

async function lastRequest(client: LanguageClient, document: vscode.TextDocument): Promise<Account | undefined> {
    const uri = client.code2ProtocolConverter.asUri(document.uri);
    const params = { command: COMMAND, arguments: [uri, 1] };
    return ((await client.sendRequest(ExecuteCommandRequest.type, params)) as Account[])[0];
}
