// A language client for one server process: everything the protocol's own features do, and our one notification.
import type { ChildProcess } from "node:child_process";
import * as vscode from "vscode";
import {
    CancellationTokenSource,
    CloseAction,
    CodeActionResolveRequest,
    DidChangeConfigurationNotification,
    ErrorAction,
    LanguageClient,
    type LanguageClientOptions,
    RevealOutputChannelOn,
} from "vscode-languageclient/node";
import { type Options, SECTION } from "./options";
import { Notices } from "./progress";
import { asState, type State } from "./state";
import { refused } from "./words";

export interface Hooks {
    options(): Options;
    /** Whether the server is to be left alone just now. */
    silent(): boolean;
    onState(state: State): void;
}

/** Says nothing by itself: what goes wrong is in the log, and what the user should hear is said once, by us. */
class QuietClient extends LanguageClient {
    override error(message: string, data?: unknown): void {
        super.error(message, data, false);
    }

    override warn(message: string, data?: unknown): void {
        super.warn(message, data, false);
    }

    override info(message: string, data?: unknown): void {
        super.info(message, data, false);
    }
}

/** Whether the server has a command, by its name. */
export function offers(client: LanguageClient, command: string): boolean {
    return client.initializeResult?.capabilities.executeCommandProvider?.commands.includes(command) ?? false;
}

/** A client that will talk to `process` once it is started. It never starts another process. */
export function connect(process: ChildProcess, log: vscode.LogOutputChannel, hooks: Hooks): LanguageClient {
    const initial = hooks.options();
    const notices = new Notices();
    const options: LanguageClientOptions = {
        documentSelector: [{ scheme: "file" }, { scheme: "untitled" }],
        initializationOptions: { ...initial, status: true },
        outputChannel: log,
        revealOutputChannelOn: RevealOutputChannelOn.Never,
        stdioOptions: { stdout: () => undefined, stderr: () => undefined },
        initializationFailedHandler: () => false,
        errorHandler: {
            error: () => ({ action: ErrorAction.Continue, handled: true }),
            closed: () => {
                notices.clear();
                process.kill(); // its end is what everything else follows from
                return { action: CloseAction.DoNotRestart, handled: true };
            },
        },
        middleware: {
            provideInlineCompletionItems: (document, position, context, token, next) =>
                hooks.silent() ? null : next(document, position, context, token),
            handleWorkDoneProgress: (token, value, next) => {
                if (!notices.take(client, token, value)) {
                    next(token, value);
                }
            },
            // The languageclient's own would log what is meant for the user, or drop it.
            resolveCodeAction: async (item, token) => {
                const stop = new CancellationTokenSource();
                token.onCancellationRequested(() => stop.cancel());
                try {
                    const action = client.code2ProtocolConverter.asCodeActionSync(item);
                    const resolved = await client.sendRequest(CodeActionResolveRequest.type, action, stop.token);
                    return await client.protocol2CodeConverter.asCodeAction(resolved, token);
                } catch (error) {
                    const reason = token.isCancellationRequested ? null : refused(error);
                    if (reason) {
                        void vscode.window.showInformationMessage(`Midspan: ${reason}.`);
                    }
                    return item;
                } finally {
                    stop.dispose();
                }
            },
            workspace: {
                // The languageclient's own would send settings that are not the server's, and defaults as if chosen.
                didChangeConfiguration: async () => {
                    const settings = { [SECTION]: hooks.options() };
                    try {
                        await client.sendNotification(DidChangeConfigurationNotification.type, { settings });
                    } catch (error) {
                        if (client.isRunning()) {
                            throw error;
                        } // else the same change turned it off
                    }
                },
                configuration: ({ items }) =>
                    items.map(({ section }) => (section === SECTION ? hooks.options() : null)),
            },
        },
    };
    const client = new QuietClient(SECTION, "Midspan", () => Promise.resolve(process), options);
    client.onNotification("midspan/status", (params: unknown) => {
        const state = asState(params);
        if (state) {
            hooks.onState(state);
        }
    });
    return client;
}
