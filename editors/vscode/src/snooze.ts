// A pause the user asked for: nothing is asked of the server until it is over. The model stays where it is.
import * as vscode from "vscode";

export const MINUTES = [5, 15, 60] as const;

export class Snooze implements vscode.Disposable {
    private readonly changed = new vscode.EventEmitter<void>();
    private timer: NodeJS.Timeout | undefined;
    private end = 0;

    readonly onDidChange = this.changed.event;

    get active(): boolean {
        return this.timer !== undefined;
    }

    /** The time of day it is over, as the user reads times. */
    get until(): string {
        return new Date(this.end).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    }

    begin(minutes: number): void {
        clearTimeout(this.timer);
        this.end = Date.now() + minutes * 60_000;
        this.timer = setTimeout(() => this.wake(), minutes * 60_000);
        this.tell();
    }

    wake(): void {
        clearTimeout(this.timer);
        this.timer = undefined;
        this.tell();
    }

    dispose(): void {
        clearTimeout(this.timer);
        this.changed.dispose();
    }

    private tell(): void {
        void vscode.commands.executeCommand("setContext", "midspan.snoozed", this.active);
        this.changed.fire();
    }
}
