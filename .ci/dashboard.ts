// A dashboard as Grafana's schema has it, with the panels that ours consist of, as JSON: enums are their plain values.
import type * as schema from "@grafana/schema";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

type Plain<T> = T extends string ? `${T}`
    : T extends number ? (`${T}` extends `${infer N extends number}` ? N : number)
    : T extends (infer Item)[] ? Plain<Item>[]
    : T extends object ? { [Key in keyof T]: Plain<T[Key]> }
    : T;

// The package has no types of Prometheus' queries since version 10.
interface Query {
    refId: string;
    datasource: { type: "prometheus"; uid: "${datasource}" };
    expr: string;
    legendFormat: string;
    range?: boolean;
    instant?: boolean;
    format?: "time_series" | "table" | "heatmap";
}

// The schema leaves open what the types of panels define.
type PanelOf<Type extends string, Options, Custom> = Omit<Plain<schema.Panel>, "type" | "options" | "targets" | "fieldConfig"> & {
    type: Type;
    options: Plain<Options>;
    targets: Query[];
    fieldConfig: Omit<Plain<schema.FieldConfigSource>, "defaults"> & {
        defaults: Omit<Plain<schema.FieldConfig>, "custom"> & { custom?: Plain<Partial<Custom>> };
    };
};
type Panel =
    | PanelOf<"stat", stat.Options, never>
    | PanelOf<"timeseries", timeseries.Options, timeseries.FieldConfig>
    | PanelOf<"heatmap", heatmap.Options, heatmap.FieldConfig>
    | PanelOf<"table", table.Options, table.FieldConfig>
    | (Omit<Plain<schema.RowPanel>, "panels"> & { panels: [] });

export type Dashboard = Omit<Plain<schema.Dashboard>, "panels"> & { panels: Panel[] };
