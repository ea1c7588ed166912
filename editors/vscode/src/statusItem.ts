// The item in the status bar: what the server does, in one icon and one word; a click opens the menu.
import * as vscode from "vscode";
import type { Server } from "./server";
import type { Snooze } from "./snooze";
import { describe, type Kind, type State } from "./state";

/** Busy looks like ready: the bar must not flicker with every key. */
const ICONS: Readonly<Record<Kind, string>> = {
    off: "circle-slash",
    missing: "warning",
    starting: "loading~spin",
    asleep: "bracket",
    loading: "loading~spin",
    ready: "bracket",
    busy: "bracket",
    error: "error",
};
const BUSY_AFTER = 400; // milliseconds of work until the item says so

export class StatusItem implements vscode.Disposable {
    private readonly item = vscode.window.createStatusBarItem("midspan.status", vscode.StatusBarAlignment.Right, 90);
    private readonly listeners: vscode.Disposable[];
    private later: NodeJS.Timeout | undefined;

    constructor(
        private readonly server: Server,
        private readonly snooze: Snooze,
    ) {
        this.item.name = "Midspan";
        this.item.command = "midspan.showMenu";
        this.listeners = [server.onDidChange(() => this.update()), snooze.onDidChange(() => this.update())];
        this.show(server.state);
        this.item.show();
    }

    dispose(): void {
        clearTimeout(this.later);
        this.listeners.forEach((listener) => listener.dispose());
        this.item.dispose();
    }

    private update(): void {
        clearTimeout(this.later);
        const state = this.server.state;
        if (state.kind === "busy") {
            this.later = setTimeout(() => this.show(state), BUSY_AFTER);
        } else {
            this.show(state);
        }
    }

    private show(state: State): void {
        const resting = this.snooze.active && ["ready", "busy", "asleep"].includes(state.kind);
        const words = resting ? `snoozing until ${this.snooze.until}` : describe(state);
        this.item.text = `$(${resting ? "bell-slash" : ICONS[state.kind]}) Midspan`;
        this.item.tooltip = `Midspan: ${words}`;
        this.item.accessibilityInformation = { label: `Midspan: ${words}`, role: "button" };
        const loud: Partial<Record<Kind, string>> = { error: "error", missing: "warning" };
        const colour = loud[state.kind];
        this.item.backgroundColor = colour ? new vscode.ThemeColor(`statusBarItem.${colour}Background`) : undefined;
    }
}
