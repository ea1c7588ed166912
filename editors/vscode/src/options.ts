// The user's settings as the server takes them. Knows neither the server's options nor their meaning: package.json
// lists them, and those under `midspan.server.` are ours.
import * as vscode from "vscode";

export type Options = Readonly<Record<string, unknown>>;

export const SECTION = "midspan";
const OURS = "server.";

/**
 * What the user has set somewhere, and nothing else: a default that was sent would count as a choice, and win over the
 * server's own configuration files.
 */
export function chosenOptions(extension: vscode.Extension<unknown>): Options {
    const settings = vscode.workspace.getConfiguration(SECTION);
    const options: Record<string, unknown> = {};
    for (const name of optionNames(extension)) {
        const found = settings.inspect(name);
        const set = [found?.globalValue, found?.workspaceValue, found?.workspaceFolderValue];
        if (set.some((value) => value !== undefined)) {
            options[name] = settings.get(name);
        }
    }
    return options;
}

/** Whether something that was set no longer is: the server cannot be told to forget an option, only started again. */
export function forgets(before: Options, after: Options): boolean {
    return Object.keys(before).some((name) => !(name in after));
}

function optionNames(extension: vscode.Extension<unknown>): string[] {
    const properties = extension.packageJSON.contributes.configuration.properties as Record<string, unknown>;
    return Object.keys(properties)
        .map((name) => name.slice(SECTION.length + 1))
        .filter((name) => !name.startsWith(OURS));
}
