// Runs `midspan doctor` in a terminal that stays open.
import * as vscode from "vscode";
import type { Command } from "./locate";

export async function runDoctor(command: Command): Promise<void> {
    // A task with a program of its own, so that no shell has to be guessed and nothing quoted for it.
    const task = new vscode.Task(
        { type: "process" },
        vscode.TaskScope.Global,
        "doctor",
        "Midspan",
        new vscode.ProcessExecution(command.program, [...command.args, "doctor"]),
    );
    task.presentationOptions = { reveal: vscode.TaskRevealKind.Always, panel: vscode.TaskPanelKind.Dedicated, clear: true };
    await vscode.tasks.executeTask(task);
}
