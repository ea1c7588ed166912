// The Python environment in use, asked of the Python extensions where they are installed; neither is needed.
import * as path from "node:path";
import * as vscode from "vscode";
import { programsOf } from "./locate";

const PATIENCE = 5_000; // milliseconds another extension may take to become active

/** What is used of ms-python.python. */
interface PythonExtension {
    environments: {
        getActiveEnvironmentPath(resource?: vscode.Uri): { path: string };
        onDidChangeActiveEnvironmentPath: vscode.Event<unknown>;
    };
}

/** Folders with the programs of the environments in use, the chosen one first. Empty in a folder that is not trusted. */
export async function environmentFolders(): Promise<string[]> {
    if (!vscode.workspace.isTrusted) {
        return [];
    }
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const found: string[] = [];
    const python = await pythonExtension();
    if (python) {
        found.push(programsOf(python.environments.getActiveEnvironmentPath(folder).path, process.platform));
    }
    if (process.env["VIRTUAL_ENV"]) {
        found.push(programsOf(process.env["VIRTUAL_ENV"], process.platform));
    }
    for (const { uri } of vscode.workspace.workspaceFolders ?? []) {
        if (uri.scheme === "file") {
            found.push(...[".venv", "venv"].map((name) => programsOf(path.join(uri.fsPath, name), process.platform)));
        }
    }
    return found;
}

/** Calls `changed` whenever the user chooses another environment, if there is an extension to choose it with. */
export async function onEnvironmentChange(changed: () => void): Promise<vscode.Disposable | undefined> {
    return (await pythonExtension())?.environments.onDidChangeActiveEnvironmentPath(changed);
}

async function pythonExtension(): Promise<PythonExtension | undefined> {
    const extension = vscode.extensions.getExtension<PythonExtension>("ms-python.python");
    if (!extension) {
        return undefined;
    }
    try {
        const late = new Promise<undefined>((resolve) => setTimeout(resolve, PATIENCE, undefined));
        const api = await Promise.race([extension.activate(), late]);
        return api?.environments ? api : undefined;
    } catch {
        return undefined; // it failed; the user hears that from its own side
    }
}
