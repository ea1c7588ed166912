// What the user waits for, shown with a way to call it off; the languageclient's own bar hides that behind a click.
import * as vscode from "vscode";
import {
    type LanguageClient,
    type ProgressToken,
    type WorkDoneProgressBegin,
    WorkDoneProgressCancelNotification,
    type WorkDoneProgressEnd,
    type WorkDoneProgressReport,
} from "vscode-languageclient/node";

const SOON = 400; // milliseconds: what is over by then needs no notification

export class Notices {
    private readonly ends = new Map<ProgressToken, () => void>();

    /** Whether the progress is one the user may call off: it is shown here, and nowhere else. */
    take(
        client: LanguageClient,
        token: ProgressToken,
        value: WorkDoneProgressBegin | WorkDoneProgressReport | WorkDoneProgressEnd,
    ): boolean {
        if (value.kind === "begin" && value.cancellable) {
            this.begin(client, token, value.message ? `${value.title}: ${value.message}` : value.title);
            return true;
        }
        if (value.kind === "end") {
            this.end(token);
            return false; // the languageclient forgets the token
        }
        return this.ends.has(token);
    }

    /** The server is gone, and all it was doing with it. */
    clear(): void {
        [...this.ends.keys()].forEach((token) => this.end(token));
    }

    private begin(client: LanguageClient, token: ProgressToken, title: string): void {
        const over = new Promise<void>((resolve) => {
            const timer = setTimeout(() => show(), SOON);
            this.ends.set(token, () => {
                clearTimeout(timer);
                resolve();
            });
        });
        const show = () => {
            const options = { location: vscode.ProgressLocation.Notification, cancellable: true, title };
            void vscode.window.withProgress(options, (_, cancel) => {
                cancel.onCancellationRequested(() => {
                    void client.sendNotification(WorkDoneProgressCancelNotification.type, { token });
                    this.end(token);
                });
                return over;
            });
        };
    }

    private end(token: ProgressToken): void {
        this.ends.get(token)?.();
        this.ends.delete(token);
    }
}
