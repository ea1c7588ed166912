// Where the `midspan` command is. Looks at files and variables it is given; starts and downloads nothing, and knows
// nothing of VS Code.
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import * as path from "node:path";

/** How to start the server, `--stdio` left out. */
export interface Command {
    readonly program: string;
    readonly args: readonly string[];
    /** Where it was found, in words. */
    readonly origin: string;
}

export interface Places {
    /** The user's own choice: a program and its arguments; empty: none. */
    readonly configured: readonly string[];
    /** Folders that hold the programs of a Python environment, the active one first. */
    readonly environments: readonly string[];
    readonly home: string;
    readonly variables: Readonly<Record<string, string | undefined>>;
    readonly platform: NodeJS.Platform;
    readonly workspaceFolder: string | undefined;
}

/** The first that exists; null: none does. Throws when the user chose a command that does not exist. */
export async function locate(places: Places): Promise<Command | null> {
    const [program, ...args] = places.configured.map((part) => expand(part, places));
    if (program) {
        const found = await resolve(program, places);
        if (!found) {
            throw new Error(`the setting midspan.server.command names ${program}, which is no program here`);
        }
        return { program: found, args, origin: "the setting midspan.server.command" };
    }
    const groups: [string, readonly string[]][] = [
        ["the active Python environment", places.environments],
        ["PATH", onPath(places)],
        ["pipx or uv", toolFolders(places)],
    ];
    for (const [origin, folders] of groups) {
        const found = await inFolders("midspan", folders, places.platform);
        if (found) {
            return { program: found, args: [], origin };
        }
    }
    return null;
}

/** The folder that holds an environment's programs, given its Python (or the environment itself). */
export function programsOf(python: string, platform: NodeJS.Platform): string {
    const isProgram = /^python[\d.]*(\.exe)?$/i.test(path.basename(python));
    return isProgram ? path.dirname(python) : path.join(python, platform === "win32" ? "Scripts" : "bin");
}

/** Where pipx and uv put the commands of tools, and the environments these commands point into. */
function toolFolders({ home, variables: v, platform }: Places): string[] {
    const windows = platform === "win32";
    const programs = windows ? "Scripts" : "bin";
    const share = v["XDG_DATA_HOME"] ?? path.join(home, ".local", "share");
    const roaming = v["APPDATA"] ?? path.join(home, "AppData", "Roaming");
    const pipxHomes = v["PIPX_HOME"] ? [v["PIPX_HOME"]] : [path.join(share, "pipx"), path.join(home, ".local", "pipx"), path.join(home, "pipx")];
    const uvTools = v["UV_TOOL_DIR"] ?? (windows ? path.join(roaming, "uv", "tools") : path.join(share, "uv", "tools"));
    return [
        v["PIPX_BIN_DIR"],
        v["UV_TOOL_BIN_DIR"],
        v["XDG_BIN_HOME"],
        path.join(home, ".local", "bin"),
        ...pipxHomes.map((folder) => path.join(folder, "venvs", "midspan", programs)),
        path.join(uvTools, "midspan", programs),
    ].filter((folder): folder is string => !!folder);
}

function onPath({ variables, platform }: Places): string[] {
    const value = variables["PATH"] ?? variables["Path"] ?? "";
    // Relative entries would mean whatever folder is open.
    return value.split(platform === "win32" ? ";" : ":").filter((folder) => path.isAbsolute(folder));
}

function expand(part: string, { home, workspaceFolder }: Places): string {
    const here = part.replace(/^~(?=$|[/\\])/, () => home);
    return workspaceFolder ? here.replaceAll("${workspaceFolder}", () => workspaceFolder) : here;
}

async function resolve(program: string, places: Places): Promise<string | null> {
    if (path.isAbsolute(program)) {
        return inFolders(path.basename(program), [path.dirname(program)], places.platform);
    }
    // A relative path would mean whatever folder is open; a bare name is looked up.
    return /[/\\]/.test(program) ? null : inFolders(program, onPath(places), places.platform);
}

async function inFolders(name: string, folders: readonly string[], platform: NodeJS.Platform): Promise<string | null> {
    const names = platform === "win32" && !path.extname(name) ? [`${name}.exe`] : [name];
    for (const candidate of folders.flatMap((folder) => names.map((full) => path.join(folder, full)))) {
        if (await isProgram(candidate)) {
            return candidate;
        }
    }
    return null;
}

async function isProgram(file: string): Promise<boolean> {
    try {
        await access(file, constants.X_OK);
        return (await stat(file)).isFile();
    } catch {
        return false;
    }
}
